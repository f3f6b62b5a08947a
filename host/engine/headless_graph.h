// A graph without what follows its hidden states: for steps of which nobody wants logits.
#pragma once

#include <vector>

#include "llmhost/op.h"

namespace llmhost::engine {

// Tensors and nodes are those of the graph it was made of, which must stay, and have the same numbers.
class HeadlessGraph {
 public:
  // `hidden` is one of the graph's outputs; the others are dropped, with the nodes that depend on it.
  HeadlessGraph(const llmh_graph& graph, const llmh_graph_output& hidden);
  HeadlessGraph(const HeadlessGraph&) = delete;
  HeadlessGraph& operator=(const HeadlessGraph&) = delete;

  const llmh_graph& view() const { return view_; }

 private:
  std::vector<const llmh_node*> nodes_;
  std::vector<const llmh_graph_output*> outputs_;
  llmh_graph view_;
};

}  // namespace llmhost::engine
