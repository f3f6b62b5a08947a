#include "graph/autodiff/layers.h"

#include <algorithm>
#include <string>

namespace llmhost::graph {
namespace {

constexpr int32_t kUnread = -2;

bool is_number(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '9'; });
}

}  // namespace

std::string_view layer_prefix(std::string_view path) {
  for (size_t begin = 0; begin < path.size();) {
    const size_t end = std::min(path.find('.', begin), path.size());
    if (begin > 0 && is_number(path.substr(begin, end - begin))) return path.substr(0, end);
    begin = end + 1;
  }
  return {};
}

Layers::Layers(const Graph& graph)
    : by_node_(graph.node_count(), kNoLayer), crosses_(graph.tensor_count(), false) {
  number_by_paths(graph);
  settle_sources(graph);
  find_crossings(graph);
}

void Layers::number_by_paths(const Graph& graph) {
  std::string current;
  for (uint32_t i = 0; i < graph.node_count(); ++i) {
    const llmh_node& node = graph.node(i);
    if (node.path.len > 0) {
      const std::string_view prefix = layer_prefix(to_view(node.path));
      if (prefix.empty()) continue;
      if (prefix != current) ++count_;
      current = prefix;
      by_node_[i] = count_ - 1;
      continue;
    }
    for (const llmh_tensor input : inputs_of(node))
      if (input != LLMH_NO_TENSOR && graph.tensor(input).producer >= 0)
        by_node_[i] = std::max(by_node_[i], by_node_[static_cast<size_t>(graph.tensor(input).producer)]);
  }
}

void Layers::settle_sources(const Graph& graph) {
  std::vector<int32_t> read_in(graph.tensor_count(), kUnread);
  for (uint32_t i = graph.node_count(); i-- > 0;) {
    const llmh_node& node = graph.node(i);
    if (by_node_[i] == kNoLayer && node.path.len == 0) {
      int32_t reader = kUnread;
      for (const llmh_tensor output : outputs_of(node)) {
        const int32_t layer = read_in[static_cast<size_t>(output)];
        if (layer != kUnread) reader = reader == kUnread || reader == layer ? layer : kNoLayer;
      }
      by_node_[i] = std::max(reader, kNoLayer);
    }
    for (const llmh_tensor input : inputs_of(node)) {
      if (input == LLMH_NO_TENSOR) continue;
      int32_t& layer = read_in[static_cast<size_t>(input)];
      layer = layer == kUnread || layer == by_node_[i] ? by_node_[i] : kNoLayer;
    }
  }
}

void Layers::find_crossings(const Graph& graph) {
  for (uint32_t i = 0; i < graph.node_count(); ++i)
    for (const llmh_tensor input : inputs_of(graph.node(i))) {
      if (input == LLMH_NO_TENSOR || graph.tensor(input).producer < 0) continue;
      if (by_node_[static_cast<size_t>(graph.tensor(input).producer)] != by_node_[i])
        crosses_[static_cast<size_t>(input)] = true;
    }
}

}  // namespace llmhost::graph
