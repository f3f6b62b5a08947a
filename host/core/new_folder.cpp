#include "core/new_folder.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <string>

#include "core/error.h"

namespace llmhost {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void throw_errno(const fs::path& path, const char* what) {
  const int saved = errno;
  ErrorCode code = ErrorCode::kUnknown;
  if (saved == EACCES || saved == EPERM || saved == EROFS) code = ErrorCode::kPermissionDenied;
  if (saved == ENOSPC || saved == EDQUOT) code = ErrorCode::kResourceExhausted;
  if (saved == EEXIST || saved == ENOTEMPTY) code = ErrorCode::kAlreadyExists;
  throw_error(code, "{}: cannot {}: {}", path.string(), what, std::strerror(saved));
}

void sync(const fs::path& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) throw_errno(path, "open");
  const int result = ::fsync(fd);
  const int saved = errno;
  ::close(fd);
  // Not every file system can sync a folder.
  if (result != 0 && saved != EINVAL) {
    errno = saved;
    throw_errno(path, "sync");
  }
}

fs::path without_slash(const fs::path& path) {
  const fs::path plain = path.lexically_normal();
  return plain.has_filename() ? plain : plain.parent_path();
}

}  // namespace

NewFolder::NewFolder(const fs::path& path) : path_(without_slash(path)) {
  std::error_code ignored;
  if (fs::exists(path_, ignored) && !fs::is_empty(path_, ignored))
    throw_error(ErrorCode::kAlreadyExists, "{}: is there already; name a new folder or an empty one",
                path_.string());
  const fs::path parent = path_.has_parent_path() ? path_.parent_path() : fs::path(".");
  std::error_code failed;
  fs::create_directories(parent, failed);
  if (failed)
    throw_error(ErrorCode::kPermissionDenied, "{}: cannot make the folder: {}", parent.string(),
                failed.message());
  std::string pattern = (parent / ("." + path_.filename().string() + ".XXXXXX")).string();
  if (::mkdtemp(pattern.data()) == nullptr) throw_errno(path_, "make a temporary folder beside");
  temporary_ = pattern;
  ::chmod(temporary_.c_str(), 0755);
}

NewFolder::~NewFolder() {
  if (temporary_.empty()) return;
  std::error_code ignored;
  fs::remove_all(temporary_, ignored);
}

void NewFolder::commit() {
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(temporary_))
    if (entry.is_regular_file() || entry.is_directory()) sync(entry.path());
  sync(temporary_);
  // Takes the place of an empty folder, and of nothing else.
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) throw_errno(path_, "put the folder in place");
  temporary_.clear();
  sync(path_.has_parent_path() ? path_.parent_path() : fs::path("."));
}

}  // namespace llmhost
