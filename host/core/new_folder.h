// A folder that appears under its name whole or not at all: made beside it under another name, synced,
// renamed.
#pragma once

#include <filesystem>

namespace llmhost {

class NewFolder {
 public:
  // Throws kAlreadyExists when something lies at `path` that is not an empty folder; makes missing parents.
  explicit NewFolder(const std::filesystem::path& path);
  ~NewFolder();  // without commit(): nothing is left
  NewFolder(const NewFolder&) = delete;
  NewFolder& operator=(const NewFolder&) = delete;

  const std::filesystem::path& at() const { return temporary_; }  // where to write
  // Syncs all files and folders in it and renames.
  void commit();

 private:
  std::filesystem::path path_;
  std::filesystem::path temporary_;  // empty once committed
};

}  // namespace llmhost
