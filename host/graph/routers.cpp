#include "graph/routers.h"

#include <algorithm>
#include <string_view>

namespace llmhost::graph {
namespace {

// "a.b." of "a.b.c".
std::string_view block_of(std::string_view path) {
  const size_t dot = path.rfind('.');
  return dot == std::string_view::npos ? std::string_view() : path.substr(0, dot + 1);
}

}  // namespace

std::set<std::string> router_paths(std::span<const AdapterSite> modules) {
  std::set<std::string> paths;
  for (const AdapterSite& module : modules) {
    if (module.kind != LLMH_MODULE_LINEAR) continue;
    const std::string_view block = block_of(module.path);
    const bool routes = std::any_of(modules.begin(), modules.end(), [&](const AdapterSite& other) {
      return other.is_experts && other.out_features == module.out_features && !block.empty() &&
             other.path.starts_with(block);
    });
    if (routes) paths.insert(module.path);
  }
  return paths;
}

}  // namespace llmhost::graph
