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
  const bool full = saved == ENOSPC || saved == EDQUOT;
  throw_error(full ? ErrorCode::kResourceExhausted : ErrorCode::kUnknown, "{}: cannot {}: {}", path, what,
              std::strerror(saved));
}

// A rename is durable once the folder is synced; a file system that cannot do that is no reason to fail.
void sync_folder(const std::filesystem::path& folder) {
  const int fd = ::open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return;
  ::fsync(fd);
  ::close(fd);
}

}  // namespace

NewFile::NewFile(const std::filesystem::path& path) : path_(path), name_(path.string()) {
  std::string temporary = name_ + ".XXXXXX";
  fd_ = ::mkostemp(temporary.data(), O_CLOEXEC);
  if (fd_ < 0) throw_errno(name_, "create a temporary file beside");
  temporary_ = temporary;
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
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) throw_errno(name_, "replace");
  temporary_.clear();
  sync_folder(path_.parent_path());
}

}  // namespace llmhost
