#include "core/new_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "core/error.h"

namespace llmhost {
namespace {

[[noreturn]] void throw_errno(const std::string& path, const char* what) {
  const int saved = errno;
  ErrorCode code = ErrorCode::kUnknown;
  if (saved == ENOENT) code = ErrorCode::kNotFound;
  if (saved == EACCES || saved == EPERM || saved == EROFS) code = ErrorCode::kPermissionDenied;
  if (saved == ENOSPC || saved == EDQUOT) code = ErrorCode::kResourceExhausted;
  throw_error(code, "{}: cannot {}: {}", path, what, std::strerror(saved));
}

// A rename is durable once the folder is synced; a file system that cannot do that is no reason to fail.
void sync_folder(const std::filesystem::path& folder) {
  const int fd = ::open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return;
  ::fsync(fd);
  ::close(fd);
}

std::filesystem::path folder_of(const std::filesystem::path& path) {
  return path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
}

// How a file without a name is reached to give it one.
std::string descriptor_path(int fd) {
  return "/proc/self/fd/" + std::to_string(fd);
}

}  // namespace

NewFile::NewFile(const std::filesystem::path& path) : path_(path), name_(path.string()) {
  if (open_nameless()) return;
  std::string temporary = name_ + ".XXXXXX";
  fd_ = ::mkostemp(temporary.data(), O_CLOEXEC);
  if (fd_ < 0) throw_errno(name_, "create a temporary file beside");
  temporary_ = temporary;
}

bool NewFile::open_nameless() {
#ifdef O_TMPFILE
  fd_ = ::open(folder_of(path_).c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (fd_ >= 0 && ::access(descriptor_path(fd_).c_str(), F_OK) == 0) return true;
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
#endif
  return false;
}

bool NewFile::link_as(const std::string& name) const {
  const std::string here = descriptor_path(fd_);
  return ::linkat(AT_FDCWD, here.c_str(), AT_FDCWD, name.c_str(), AT_SYMLINK_FOLLOW) == 0;
}

// A link never replaces a file: where there is one, it is a name beside it that is linked and then renamed.
void NewFile::give_name() {
  for (int i = 0; !link_as(i == 0 ? name_ : temporary_); ++i) {
    if (errno != EEXIST) {
      temporary_.clear();
      throw_errno(name_, "give a name to");
    }
    temporary_ = fmt::format("{}.{}-{}", name_, ::getpid(), i);
  }
}

NewFile::~NewFile() {
  if (fd_ >= 0) ::close(fd_);
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

void NewFile::write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd_, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) throw_errno(name_, "write");
    bytes = bytes.subspan(static_cast<size_t>(n));
  }
}

void NewFile::commit() {
  if (::fchmod(fd_, 0644) != 0 || ::fsync(fd_) != 0) throw_errno(name_, "sync");
  if (temporary_.empty()) give_name();
  if (!temporary_.empty() && ::rename(temporary_.c_str(), path_.c_str()) != 0) throw_errno(name_, "replace");
  temporary_.clear();
  sync_folder(path_.parent_path());
}

}  // namespace llmhost
