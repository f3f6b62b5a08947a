// Text files that plugins of a kind read (LLMH_DOCUMENTS_INTERFACE): the project's own, embedded from
// registry/<subject>, and the user's, which come first:
//   1. DocumentOptions::paths (--arch-path)
//   2. $LLMHOST_ARCH_PATH
//   3. ~/.local/share/llmhost/<subject>
//   4. share/llmhost/<subject> of the installation
// They are data, so anybody's files are taken. Files of 1. and 2. that cannot be read or are larger than 1
// MiB are an error; others are left out with a warning.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

namespace llmhost::plugin {

struct DocumentOptions {
  // By subject ("archs"): files, or folders with .yaml files.
  std::map<std::string, std::vector<std::string>> paths;
  bool use_default_path = true;  // the environment, the home folder, the installation
};

struct Document {
  std::string name;    // the file's, without folder and ending
  std::string origin;  // the path, or "built in: registry/archs/x.yaml"
  std::string text;
};

class Documents {
 public:
  // Reads what the options and the environment name; throws when one of these cannot be read.
  explicit Documents(DocumentOptions options);
  Documents(const Documents&) = delete;
  Documents& operator=(const Documents&) = delete;

  // The documents of a subject, the user's first; valid as long as this object. What was not named is read
  // when it is first asked for. [thread-safe]
  const std::vector<Document>& of(std::string_view subject);

 private:
  std::vector<Document> collect(std::string_view subject) const;

  DocumentOptions options_;
  std::map<std::string, std::vector<Document>, std::less<>> named_;  // by subject
  std::mutex mutex_;
  std::map<std::string, std::vector<Document>, std::less<>> subjects_;
};

// Makes these documents the ones that plugins get. Those offered before stay valid, too. [control]
void offer_documents(const DocumentOptions& options);

}  // namespace llmhost::plugin
