// Lists of paths in environment variables.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

namespace llmhost::plugin {

// The entries between the colons; empty ones are left out.
inline std::vector<std::string> split_path_list(std::string_view list) {
  std::vector<std::string> entries;
  while (!list.empty()) {
    const size_t colon = std::min(list.find(':'), list.size());
    if (colon > 0) entries.emplace_back(list.substr(0, colon));
    list.remove_prefix(std::min(colon + 1, list.size()));
  }
  return entries;
}

}  // namespace llmhost::plugin
