#include "engine/headless_graph.h"

#include <algorithm>
#include <span>

namespace llmhost::engine {

HeadlessGraph::HeadlessGraph(const llmh_graph& graph, const llmh_graph_output& hidden)
    : outputs_{&hidden}, view_(graph) {
  std::vector<bool> follows(graph.n_tensors, false);
  follows[static_cast<size_t>(hidden.tensor)] = true;
  for (const llmh_node* node : std::span(graph.nodes, graph.n_nodes)) {
    const std::span inputs(node->inputs, node->n_inputs);
    const bool depends = std::ranges::any_of(
        inputs, [&](llmh_tensor tensor) { return tensor >= 0 && follows[static_cast<size_t>(tensor)]; });
    if (!depends) {
      nodes_.push_back(node);
      continue;
    }
    for (const llmh_tensor output : std::span(node->outputs, node->n_outputs))
      follows[static_cast<size_t>(output)] = true;
  }
  view_.nodes = nodes_.data();
  view_.n_nodes = static_cast<uint32_t>(nodes_.size());
  view_.outputs = outputs_.data();
  view_.n_outputs = 1;
}

}  // namespace llmhost::engine
