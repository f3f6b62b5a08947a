#include "engine/adapter_folder.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <set>
#include <utility>

#include "core/error.h"

namespace llmhost::engine {
namespace {

namespace fs = std::filesystem;

class Descriptor {
 public:
  explicit Descriptor(int number) : number_(number) {}
  ~Descriptor() {
    if (number_ >= 0) close(number_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return number_; }
  int release() { return std::exchange(number_, -1); }

 private:
  int number_;
};

[[noreturn]] void throw_unreadable(const char* file, int error) {
  if (error == ENOENT || error == ENOTDIR)
    throw_error(ErrorCode::kNotFound, "{}: it is not in the folder", file);
  if (error == EXDEV || error == ELOOP)
    throw_error(ErrorCode::kPermissionDenied, "{}: it lies outside the folders that adapters may come from",
                file);
  throw_error(ErrorCode::kPermissionDenied, "{}: it cannot be read", file);
}

// Where the kernel has no openat2: the real path must be below the real root, and is opened as it is.
int open_by_real_path(const fs::path& root, const fs::path& relative, int flags) {
  std::error_code failed;
  const fs::path base = fs::canonical(root, failed);
  const fs::path real = failed ? fs::path() : fs::canonical(root / relative, failed);
  if (failed) {
    errno = ENOENT;
    return -1;
  }
  if (std::mismatch(base.begin(), base.end(), real.begin(), real.end()).first != base.end()) {
    errno = EXDEV;
    return -1;
  }
  return ::open(real.c_str(), flags | O_NOFOLLOW);
}

AdapterSignature::File signature_of(int file, const char* name) {
  struct stat about {};
  if (fstat(file, &about) != 0 || !S_ISREG(about.st_mode))
    throw_error(ErrorCode::kNotFound, "{}: it is no plain file", name);
  return {int64_t{about.st_mtim.tv_sec} * 1'000'000'000 + about.st_mtim.tv_nsec,
          static_cast<uint64_t>(about.st_size), static_cast<uint64_t>(about.st_ino)};
}

bool is_name_character(char c) {
  constexpr std::string_view kOthers = "._-+@=,";
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
         kOthers.find(c) != std::string_view::npos;
}

// The path below the root as it is written, or empty when it is not below.
fs::path below(const fs::path& root, const fs::path& path) {
  const fs::path base = (root / "").lexically_normal();
  const fs::path relative = path.lexically_normal().lexically_relative(base);
  const bool is_below = !relative.empty() && *relative.begin() != ".." && relative != ".";
  return is_below ? relative : fs::path();
}

}  // namespace

int AdapterFolder::open(const fs::path& relative, int flags) const {
  flags |= O_CLOEXEC;
  if ((flags & O_PATH) == 0) flags |= O_NONBLOCK;  // a pipe in the place of a file must not hold anybody up
  if (!is_confined_) return ::open((root_ / relative).c_str(), flags);
  const Descriptor root(::open(root_.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (root.get() < 0) return -1;
  const fs::path whole = relative_ / relative;
  open_how how{};
  how.flags = static_cast<uint64_t>(flags);
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;
  const long opened = syscall(SYS_openat2, root.get(), whole.c_str(), &how, sizeof how);
  if (opened >= 0 || (errno != ENOSYS && errno != EPERM)) return static_cast<int>(opened);
  return open_by_real_path(root_, whole, flags);
}

bool AdapterFolder::exists() const {
  return Descriptor(open(".", O_PATH | O_DIRECTORY)).get() >= 0;
}

bool AdapterFolder::has(const char* file) const {
  const Descriptor opened(open(file, O_PATH));
  struct stat about {};
  return opened.get() >= 0 && fstat(opened.get(), &about) == 0 && S_ISREG(about.st_mode);
}

std::string AdapterFolder::read(const char* file, uint64_t max_bytes) const {
  const Descriptor opened(open(file, O_RDONLY));
  if (opened.get() < 0) throw_unreadable(file, errno);
  const uint64_t size = signature_of(opened.get(), file).bytes;
  if (size > max_bytes)
    throw_error(ErrorCode::kResourceExhausted, "{}: it has {} bytes, at most {} are read", file, size,
                max_bytes);
  std::string content(size, '\0');
  size_t done = 0;
  while (done < content.size()) {
    const ssize_t n = ::read(opened.get(), content.data() + done, content.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) throw_error(ErrorCode::kUnavailable, "{}: it changed while it was read; try again", file);
    done += static_cast<size_t>(n);
  }
  return content;
}

AdapterSignature AdapterFolder::signature() const {
  AdapterSignature signature;
  for (const auto& [file, part] : {std::pair{kAdapterConfigFile, &signature.config},
                                   std::pair{kAdapterTensorFile, &signature.tensors}}) {
    const Descriptor opened(open(file, O_PATH));
    if (opened.get() < 0 && errno == ENOENT) continue;
    if (opened.get() < 0) throw_unreadable(file, errno);
    *part = signature_of(opened.get(), file);
  }
  return signature;
}

void check_adapter_name(std::string_view name) {
  constexpr size_t kMaxBytes = 255;
  const bool fits = !name.empty() && name.size() <= kMaxBytes && name.front() != '.' &&
                    std::all_of(name.begin(), name.end(), is_name_character);
  if (!fits)
    throw_invalid(
        "an adapter's name has 1 to {} letters, digits and characters of '._-+@=,' and does not begin with a "
        "dot",
        kMaxBytes);
}

AdapterFolder find_adapter(const std::vector<fs::path>& roots, const std::string& name) {
  const bool is_path = name.starts_with('/');
  if (!is_path) check_adapter_name(name);
  if (is_path && name.find('\0') != std::string::npos) throw_invalid("an adapter's path has no NUL in it");
  bool is_below_any = !is_path;
  for (const fs::path& root : roots) {
    const fs::path relative = is_path ? below(root, name) : fs::path(name);
    if (relative.empty()) continue;
    is_below_any = true;
    AdapterFolder folder(root, relative);
    if (folder.exists()) return folder;
  }
  if (!is_below_any)
    throw_error(ErrorCode::kPermissionDenied,
                "the adapter's path is outside the folders that adapters may come from");
  throw_error(ErrorCode::kNotFound, "there is no adapter of this name");
}

std::string adapter_key(const std::vector<fs::path>& roots, const std::string& name) {
  if (!name.starts_with('/') || name.find('\0') != std::string::npos) return name;
  const std::string last = fs::path(name).lexically_normal().filename().string();
  for (const fs::path& root : roots) {
    const bool is_this = below(root, name) == last;
    if (is_this) return last;
    if (!last.empty() && AdapterFolder(root, last).exists()) break;  // the name is another folder's
  }
  return fs::path(name).lexically_normal().string();
}

std::vector<std::string> list_adapters(const std::vector<fs::path>& roots, size_t limit) {
  std::set<std::string> names;
  for (const fs::path& root : roots) {
    std::error_code failed;
    for (fs::directory_iterator entry(root, failed), end; !failed && entry != end; entry.increment(failed)) {
      const std::string name = entry->path().filename().string();
      if (names.size() == limit) break;
      const bool is_name =
          !name.empty() && name.front() != '.' && std::all_of(name.begin(), name.end(), is_name_character);
      if (is_name && AdapterFolder(root, name).has(kAdapterConfigFile)) names.insert(name);
    }
  }
  return {names.begin(), names.end()};
}

}  // namespace llmhost::engine
