#include "serve/http/listen.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <utility>

#include "core/error.h"

namespace llmhost::serve {
namespace {

class Fd {
 public:
  explicit Fd(int fd) : fd_(fd) {}
  ~Fd() {
    if (fd_ >= 0) ::close(fd_);
  }
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  int get() const { return fd_; }
  int release() { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

bool is_loopback(const sockaddr* address) {
  if (address->sa_family == AF_INET)
    return (ntohl(reinterpret_cast<const sockaddr_in*>(address)->sin_addr.s_addr) >> 24) == 127;
  return IN6_IS_ADDR_LOOPBACK(&reinterpret_cast<const sockaddr_in6*>(address)->sin6_addr);
}

std::string numeric(const sockaddr* address, socklen_t size) {
  char host[NI_MAXHOST] = "";
  ::getnameinfo(address, size, host, sizeof host, nullptr, 0, NI_NUMERICHOST);
  return address->sa_family == AF_INET6 ? fmt::format("[{}]", host) : host;
}

uint16_t bound_port(int fd) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  ::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size);
  const bool is_v6 = address.ss_family == AF_INET6;
  return ntohs(is_v6 ? reinterpret_cast<sockaddr_in6*>(&address)->sin6_port
                     : reinterpret_cast<sockaddr_in*>(&address)->sin_port);
}

bool answers(const sockaddr_un& address) {
  const Fd probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  return ::connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
}

}  // namespace

Listener listen_tcp(const std::string& host, uint16_t port, bool has_keys) {
  addrinfo wanted{};
  wanted.ai_socktype = SOCK_STREAM;
  wanted.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  if (host == "localhost") wanted.ai_family = AF_INET;
  addrinfo* found = nullptr;
  const std::string service = std::to_string(port);
  const std::string bare =
      host.starts_with('[') && host.ends_with(']') ? host.substr(1, host.size() - 2) : host;
  if (const int status = ::getaddrinfo(bare.c_str(), service.c_str(), &wanted, &found); status != 0)
    throw_error(ErrorCode::kInvalidArgument, "--host {}: {}", host, ::gai_strerror(status));
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> list(found, ::freeaddrinfo);
  const bool is_local = is_loopback(found->ai_addr);
  const std::string name = numeric(found->ai_addr, found->ai_addrlen);
  if (!is_local && !has_keys)
    throw UsageError(
        fmt::format("--host {}: it can be reached from other machines and there is no API key; set "
                    "LLMHOST_API_KEY or a keys file, "
                    "or use --host 127.0.0.1",
                    host));
  Fd fd(::socket(found->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  const int on = 1;
  if (fd.get() < 0 || ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
      ::bind(fd.get(), found->ai_addr, found->ai_addrlen) != 0 || ::listen(fd.get(), SOMAXCONN) != 0)
    throw_error(ErrorCode::kUnavailable,
                "cannot listen on {}:{}: {}; choose another --port or stop what has it", name, port,
                std::strerror(errno));
  Listener result{fd.get(), is_local, bound_port(fd.get()), {}};
  result.address = fmt::format("http://{}:{}", name, result.port);
  fd.release();
  return result;
}

Listener listen_unix(const std::filesystem::path& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string text = path.string();
  if (text.empty() || text.size() >= sizeof address.sun_path)
    throw_error(ErrorCode::kInvalidArgument, "socket {}: the path has {} bytes; at most {} are possible",
                text, text.size(), sizeof address.sun_path - 1);
  std::memcpy(address.sun_path, text.c_str(), text.size() + 1);
  struct stat facts {};
  if (::lstat(text.c_str(), &facts) == 0) {
    if (!S_ISSOCK(facts.st_mode))
      throw_error(ErrorCode::kAlreadyExists, "socket {}: another kind of file is there; choose another path",
                  text);
    if (answers(address))
      throw_error(ErrorCode::kAlreadyExists,
                  "socket {}: another server has it; stop it or choose another path", text);
    ::unlink(text.c_str());
  }
  Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  // The mode of the socket is the mode of its file, from the first moment.
  if (fd.get() < 0 || ::fchmod(fd.get(), S_IRUSR | S_IWUSR) != 0 ||
      ::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      ::chmod(text.c_str(), S_IRUSR | S_IWUSR) != 0 || ::listen(fd.get(), SOMAXCONN) != 0)
    throw_error(ErrorCode::kUnavailable, "cannot listen on socket {}: {}", text, std::strerror(errno));
  return {fd.release(), true, 0, "unix:" + text};
}

size_t raise_file_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return 1024;
  // Beyond this, programs that walk over all descriptors get slow.
  constexpr rlim_t kEnough = 65'536;
  rlimit raised = limit;
  raised.rlim_cur = std::max(limit.rlim_cur, std::min(limit.rlim_max, kEnough));
  if (::setrlimit(RLIMIT_NOFILE, &raised) == 0) limit = raised;
  return static_cast<size_t>(limit.rlim_cur);
}

void tune_connection(int fd) {
  const int on = 1;
  const int idle_seconds = 30;
  const int interval_seconds = 10;
  const int tries = 3;
  // All fail on a Unix socket, which needs none of them.
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  ::setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
  ::setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_seconds, sizeof idle_seconds);
  ::setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval_seconds, sizeof interval_seconds);
  ::setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &tries, sizeof tries);
}

}  // namespace llmhost::serve
