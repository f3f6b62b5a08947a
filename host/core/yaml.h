// YAML from foreign bytes as a plain tree: every node knows its line and column; size, depth and the number
// of nodes are bounded, and an alias costs what it expands to, so that no small file becomes a large tree.
// Duplicate keys, keys that are not scalars, a second document and control characters are refused. Errors are
// one line: source:line:column: what is wrong.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace llmhost {

struct YamlLimits {
  size_t max_bytes = size_t{4} << 20;
  size_t max_depth = 64;
  size_t max_nodes = 100'000;
};

struct YamlNode {
  enum class Kind { kNull, kScalar, kList, kMap };

  Kind kind = Kind::kNull;
  std::string text;             // kScalar
  bool is_quoted = false;       // kScalar: written in quotes (or as a block), so meant as text
  std::vector<YamlNode> keys;   // kMap: scalars, keys[i] belongs to items[i]
  std::vector<YamlNode> items;  // kList and kMap
  int line = 1;                 // counted from 1, as editors do
  int column = 1;

  // The value of `key` in a map, or null.
  const YamlNode* find(std::string_view key) const;
};

// `source` names the input in errors. An empty document is a kNull node.
YamlNode parse_yaml(std::string_view text, std::string_view source, const YamlLimits& limits = {});

YamlNode read_yaml_file(const std::filesystem::path& path, const YamlLimits& limits = {});

}  // namespace llmhost
