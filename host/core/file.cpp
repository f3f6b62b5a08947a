#include "core/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "core/error.h"
#include "core/new_file.h"

namespace llmhost {
namespace {

[[noreturn]] void throw_errno(const std::filesystem::path& path, const char* what) {
  const int saved = errno;
  ErrorCode code = ErrorCode::kUnknown;
  if (saved == ENOENT) code = ErrorCode::kNotFound;
  if (saved == EACCES || saved == EPERM) code = ErrorCode::kPermissionDenied;
  throw_error(code, "{}: cannot {}: {}", path.string(), what, std::strerror(saved));
}

class FileDescriptor {
 public:
  explicit FileDescriptor(int fd) : fd_(fd) {}
  ~FileDescriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

// Files are opened with O_NONBLOCK: a FIFO then fails here instead of waiting for a writer.
size_t regular_file_size(int fd, const std::filesystem::path& path) {
  struct stat info {};
  if (::fstat(fd, &info) != 0) throw_errno(path, "read");
  if (!S_ISREG(info.st_mode)) throw_invalid("{}: not a regular file", path.string());
  return static_cast<size_t>(info.st_size);
}

uintptr_t page_size() {
  return static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
}

uintptr_t page_begin(uintptr_t address) {
  return address / page_size() * page_size();
}

uintptr_t address_of(std::span<const std::byte> part) {
  return reinterpret_cast<uintptr_t>(part.data());
}

}  // namespace

std::string read_file(const std::filesystem::path& path, size_t max_bytes) {
  const FileDescriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (fd.get() < 0) throw_errno(path, "open");
  const size_t size = regular_file_size(fd.get(), path);
  if (size > max_bytes) throw_invalid("{}: {} bytes, the limit is {}", path.string(), size, max_bytes);
  std::string content(size, '\0');
  size_t done = 0;
  while (done < size) {
    const ssize_t n = ::read(fd.get(), content.data() + done, size - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) throw_errno(path, "read");
    if (n == 0) break;
    done += static_cast<size_t>(n);
  }
  content.resize(done);
  return content;
}

void write_file_atomically(const std::filesystem::path& path, std::string_view content) {
  NewFile file(path);
  file.write(std::as_bytes(std::span(content)));
  file.commit();
}

MappedFile::MappedFile(const std::filesystem::path& path) : path_(path) {
  const FileDescriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (fd.get() < 0) throw_errno(path, "open");
  size_ = regular_file_size(fd.get(), path);
  if (size_ == 0) return;
  void* mapping = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, fd.get(), 0);
  if (mapping == MAP_FAILED) throw_errno(path, "map");
  data_ = static_cast<const std::byte*>(mapping);
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)),
      data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

void expect_mapped(std::span<const std::byte> part) {
  const uintptr_t begin = page_begin(address_of(part));
  const uintptr_t end = address_of(part) + part.size();
  if (begin < end) ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_WILLNEED);
}

void drop_mapped(std::span<const std::byte> part) {
  const uintptr_t begin = page_begin(address_of(part) + page_size() - 1);
  const uintptr_t end = page_begin(address_of(part) + part.size());
  if (begin < end) ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

}  // namespace llmhost
