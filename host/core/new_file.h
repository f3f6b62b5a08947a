// A file that appears under its name whole or not at all: written without a name where the file system can do
// that (nothing is left even by a process that is killed), else beside it under another name; synced;
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
  bool open_nameless();
  bool link_as(const std::string& name) const;
  void give_name();

  std::filesystem::path path_;
  std::string name_;
  std::string temporary_;  // the other name, while there is one
  int fd_ = -1;
};

}  // namespace llmhost
