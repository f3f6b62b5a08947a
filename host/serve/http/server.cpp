#include "serve/http/server.h"

#include <sys/socket.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <optional>
#include <thread>
#include <unordered_set>
#include <utility>

#include "core/error.h"
#include "serve/http/connection.h"
#include "serve/http/listen.h"
#include "serve/http/server_state.h"

namespace llmhost::serve {
namespace {

namespace asio = boost::asio;
using boost::system::error_code;

constexpr auto kTick = std::chrono::milliseconds(100);  // how late a deadline may be noticed
constexpr size_t kReservedFiles = 64;
constexpr int kAcceptsAtOnce = 256;

}  // namespace

class Server::Impl {
 public:
  Impl(ServerOptions options, std::shared_ptr<const Router> router, std::shared_ptr<Access> access,
       std::shared_ptr<Metrics> metrics);
  ~Impl() { stop(); }

  void start();
  void stop();
  void on_io_thread(std::function<void()> job) { asio::post(context_, std::move(job)); }
  void close_idle() {
    for (const auto& connection : all()) connection->close_if_idle();
  }
  void close_all() {
    for (const auto& connection : all()) connection->close();
  }
  bool wait_drained(std::chrono::milliseconds timeout) {
    std::unique_lock lock(state_.mutex);
    return state_.idle.wait_for(lock, timeout, [this] { return state_.running == 0; });
  }
  bool run_on_worker(std::function<void()> job) { return workers_ && workers_->submit(std::move(job)); }
  Gate& gate() { return *state_.gate; }
  const Listener& listener() const { return listener_; }

 private:
  using Connections = std::unordered_set<std::shared_ptr<Connection>>;
  std::vector<std::shared_ptr<Connection>> all() const { return {connections_.begin(), connections_.end()}; }
  void wait_for_clients();
  void accept();
  void tick();

  ServerState state_;
  Listener listener_;
  size_t max_connections_;
  asio::io_context context_{1};
  asio::executor_work_guard<asio::io_context::executor_type> work_{context_.get_executor()};
  asio::posix::stream_descriptor acceptor_{context_};
  asio::steady_timer timer_{context_};
  Connections connections_;
  std::optional<WorkerPool> workers_;
  std::thread thread_;
};

Server::Impl::Impl(ServerOptions options, std::shared_ptr<const Router> router,
                   std::shared_ptr<Access> access, std::shared_ptr<Metrics> metrics)
    : state_(std::move(options), std::move(metrics)) {
  const ServerOptions& o = state_.options;
  listener_ =
      o.unix_socket.empty() ? listen_tcp(o.host, o.port, access->has_keys()) : listen_unix(o.unix_socket);
  const size_t files = raise_file_limit();
  max_connections_ =
      std::min(o.max_connections, files > 2 * kReservedFiles ? files - kReservedFiles : files / 2);
  const OriginPolicy policy{listener_.is_local && o.unix_socket.empty(), o.allowed_hosts, o.allowed_origins};
  state_.gate = std::make_shared<Gate>(std::move(router), std::move(access), policy);
  state_.waker =
      std::make_shared<Waker>([this] { on_io_thread([waker = state_.waker] { waker->drain(); }); });
  acceptor_.assign(listener_.fd);
}

void Server::Impl::start() {
  workers_.emplace(state_.options.worker_threads, state_.options.max_queued_requests);
  state_.workers = &*workers_;
  wait_for_clients();
  tick();
  thread_ = std::thread([this] { context_.run(); });
}

void Server::Impl::stop() {
  if (thread_.joinable()) {
    on_io_thread([this] {
      acceptor_.close();
      timer_.cancel();
      close_all();
      work_.reset();
    });
    state_.waker->detach();
    thread_.join();
    if (!state_.options.unix_socket.empty()) ::unlink(state_.options.unix_socket.c_str());
  }
  if (workers_) workers_->stop();
}

void Server::Impl::wait_for_clients() {
  acceptor_.async_wait(asio::posix::stream_descriptor::wait_read, [this](const error_code& ec) {
    if (ec) return;
    accept();
    wait_for_clients();
  });
}

void Server::Impl::accept() {
  for (int i = 0; i < kAcceptsAtOnce; ++i) {
    const int fd = ::accept4(acceptor_.native_handle(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) return;
    if (connections_.size() >= max_connections_) {
      state_.metrics.refused_connections.add();
      static constexpr std::string_view kFull =
          "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: "
          "close\r\n\r\n";
      [[maybe_unused]] const ssize_t sent =
          ::send(fd, kFull.data(), kFull.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
      ::close(fd);
      continue;
    }
    tune_connection(fd);
    const int family = listener_.port == 0 ? AF_UNIX : AF_INET;
    const std::shared_ptr<Connection> connection = make_connection(context_, fd, family, state_);
    connections_.insert(connection);
    state_.metrics.connections.set(static_cast<double>(connections_.size()));
    connection->start([this, connection] {
      connections_.erase(connection);
      state_.metrics.connections.set(static_cast<double>(connections_.size()));
    });
  }
}

void Server::Impl::tick() {
  timer_.expires_after(kTick);
  timer_.async_wait([this](const error_code& ec) {
    if (ec || !acceptor_.is_open()) return;  // stopped
    const auto now = Connection::Clock::now();
    for (const auto& connection : all()) connection->tick(now);
    tick();
  });
}

Server::Server(ServerOptions options, std::shared_ptr<const Router> router, std::shared_ptr<Access> access,
               std::shared_ptr<Metrics> metrics)
    : impl_(std::make_unique<Impl>(std::move(options), std::move(router), std::move(access),
                                   std::move(metrics))) {}

Server::~Server() = default;

void Server::start() {
  impl_->start();
}
void Server::stop() {
  impl_->stop();
}
uint16_t Server::port() const {
  return impl_->listener().port;
}
std::string Server::address() const {
  return impl_->listener().address;
}

void Server::begin_drain() {
  impl_->gate().set_draining();
  impl_->on_io_thread([this] { impl_->close_idle(); });
}

bool Server::is_draining() const {
  return impl_->gate().is_draining();
}
bool Server::wait_drained(std::chrono::milliseconds timeout) {
  return impl_->wait_drained(timeout);
}

bool Server::run_on_worker(std::function<void()> job) {
  return impl_->run_on_worker(std::move(job));
}

void Server::force_close() {
  impl_->on_io_thread([this] { impl_->close_all(); });
}

}  // namespace llmhost::serve
