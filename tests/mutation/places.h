// Where a node is, in words that are the same in every layer: "linear @ model.layers.*.self_attn.q_proj", or
// for a node without a module path what it is made of: "add(in, model.layers.*.mlp.down_proj)".
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "graph/graph.h"

namespace llmhost::mutation {

constexpr int32_t kNoLayer = -1;  // before the first layer

class Places {
 public:
  explicit Places(const graph::Graph& graph);

  std::string of(uint32_t node) const;
  // By the module path, else that of the latest layer among the node's inputs.
  int32_t layer(uint32_t node) const { return layers_[node]; }
  int32_t last_layer() const;

 private:
  std::string label(llmh_tensor tensor, int32_t layer, int depth) const;
  std::string expression(uint32_t node, int depth) const;
  int32_t layer_of_tensor(llmh_tensor tensor) const;

  const graph::Graph& graph_;
  std::vector<int32_t> layers_;
};

}  // namespace llmhost::mutation
