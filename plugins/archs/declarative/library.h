// The documents that describe architectures, by the model types they name. One may extend another: it then
// says only what differs.
#pragma once

#include <yaml-cpp/yaml.h>

#include <map>
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

  // A document may also name types that are not run, each with its reason: "unsupported: {type: reason}". The
  // first document added for a type is the one that counts. Throws with file, line and column.
  void add(const std::string& origin, const std::string& text);
  // Null when none describes the type.
  const Document* find(const std::string& model_type) const;
  // Why a type that no document describes is not run; empty when nothing says so.
  std::string refusal(const std::string& model_type) const;
  // The document with what it extends filled in: maps key by key, everything else replaced, null taken out.
  YAML::Node whole(const Document& document) const;

 private:
  void add_refusals(const std::string& origin, const YAML::Node& list);

  std::vector<Document> documents_;
  std::map<std::string, std::string, std::less<>> refusals_;
};

}  // namespace declarative
