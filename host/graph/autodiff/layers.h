// Which layer of the model each node of a graph is part of, told by the module paths.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "graph/graph.h"

namespace llmhost::graph {

constexpr int32_t kNoLayer = -1;

// "model.layers.3" of "model.layers.3.self_attn.q_proj": up to the first number. Empty for a path without
// one.
std::string_view layer_prefix(std::string_view path);

class Layers {
 public:
  // Layers are numbered from 0 in the order of their first nodes. A node without a path belongs where its
  // inputs are from, the last of them; one that reads nothing but weights where it is read.
  explicit Layers(const Graph& graph);

  int32_t of_node(uint32_t node) const { return by_node_[node]; }
  int32_t count() const { return count_; }
  // Made in one layer (or outside of all) and read in another.
  bool crosses(llmh_tensor tensor) const { return crosses_[static_cast<size_t>(tensor)]; }

 private:
  void number_by_paths(const Graph& graph);
  void settle_sources(const Graph& graph);
  void find_crossings(const Graph& graph);

  std::vector<int32_t> by_node_;
  std::vector<bool> crosses_;
  int32_t count_ = 0;
};

}  // namespace llmhost::graph
