// Reading whole files, read-only memory maps, and writes that are never seen half done.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

namespace llmhost {

// Throws kNotFound, kPermissionDenied, or kInvalidArgument when larger than max_bytes.
std::string read_file(const std::filesystem::path& path, size_t max_bytes = size_t{1} << 30);

// Writes to a temporary file beside `path`, syncs it, renames it: readers see the old or the new content.
void write_file_atomically(const std::filesystem::path& path, std::string_view content);

// A read-only private mapping of a whole file. Movable; unmapped on destruction. [thread-safe]
class MappedFile {
 public:
  MappedFile() = default;
  explicit MappedFile(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

// Parts of a MappedFile. Hints: nothing changes but how fast the next access is.
void expect_mapped(std::span<const std::byte> part);  // starts reading what the page cache does not hold
void drop_mapped(
    std::span<const std::byte> part);  // takes the pages that are wholly in it off resident memory

}  // namespace llmhost
