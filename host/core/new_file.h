// A file that appears under its name whole or not at all: written beside it under another name, synced,
// renamed. What was there under the name is replaced.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>

namespace llmhost {

class NewFile {
 public:
  explicit NewFile(const std::filesystem::path& path);
  ~NewFile();  // without commit(): nothing is left
  NewFile(const NewFile&) = delete;
  NewFile& operator=(const NewFile&) = delete;

  const std::string& name() const { return name_; }  // the path, for errors
  void write(std::span<const std::byte> bytes);
  void commit();

 private:
  std::filesystem::path path_;
  std::string name_;
  std::string temporary_;  // empty once committed
  int fd_ = -1;
};

}  // namespace llmhost
