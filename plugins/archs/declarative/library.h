// The documents that describe architectures, by the model types they name. One may extend another: it then
// says only what differs.
#pragma once

#include <yaml-cpp/yaml.h>

#include <string>
#include <vector>

namespace declarative {

class Library {
 public:
  struct Document {
    std::string origin;  // for messages
    std::string name;
    std::vector<std::string> model_types;  // of the Hub and of GGUF files
    std::string extends;                   // another document's name; empty: none
    YAML::Node root;
  };

  // The first document added for a type is the one that counts. Throws with file, line and column.
  void add(const std::string& origin, const std::string& text);
  // Null when none describes the type.
  const Document* find(const std::string& model_type) const;
  // The document with what it extends filled in: maps key by key, everything else replaced, null taken out.
  YAML::Node whole(const Document& document) const;

 private:
  std::vector<Document> documents_;
};

}  // namespace declarative
