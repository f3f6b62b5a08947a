// Files that clients uploaded: one folder each with the bytes and what is known of them. They stay until they
// are deleted, over restarts too. A file belongs to the caller whose key uploaded it; others do not see it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace llmhost::serve {

struct UploadedFile {
  std::string id;        // "file-…"
  std::string filename;  // as the client calls it; never a path of this machine
  std::string purpose;
  uint64_t bytes = 0;
  int64_t created = 0;         // seconds since 1970
  uint64_t owner = 0;          // Caller::tenant
  std::filesystem::path path;  // of the content; ends as the client's name does, if that is a known ending
};

// [thread-safe]
class UploadedFiles {
 public:
  // `limit`: bytes of all files together.
  UploadedFiles(std::filesystem::path folder, uint64_t limit);

  UploadedFile add(std::string_view filename, std::string_view purpose, std::string_view content,
                   uint64_t owner);
  std::vector<UploadedFile> list(uint64_t owner) const;  // newest first
  // Throws kNotFound, also for a file of somebody else.
  UploadedFile get(std::string_view id, uint64_t owner) const;
  void remove(std::string_view id, uint64_t owner);

 private:
  std::optional<UploadedFile> read(const std::filesystem::path& folder) const;
  std::vector<UploadedFile> all() const;

  std::filesystem::path folder_;
  uint64_t limit_;
  mutable std::mutex mutex_;
};

// "file-" and 24 random letters and digits.
std::string random_id(std::string_view prefix);

}  // namespace llmhost::serve
