// Copies a graph node by node into a new one; what graph-to-graph passes are made of. The pass walks the old
// nodes in order and, for each, copies it, or adds other nodes to target() and says what stands for the old
// outputs.
#pragma once

#include <span>
#include <vector>

#include "graph/graph.h"

namespace llmhost::graph {

class Rewriter {
 public:
  // Weights, constants, inputs and parameters are copied when a node first uses them.
  explicit Rewriter(const Graph& source);

  const Graph& source() const { return source_; }
  Graph& target() { return target_; }

  // The new tensor that stands for the old one; LLMH_NO_TENSOR stays what it is. Throws kInternal for an
  // activation whose node was not copied yet.
  llmh_tensor map(llmh_tensor old_tensor);
  std::vector<llmh_tensor> map(std::span<const llmh_tensor> old_tensors);

  void copy(uint32_t node);
  // `fresh` stands for `old_tensor` from now on, and takes its name over when it has none of its own.
  void replace(llmh_tensor old_tensor, llmh_tensor fresh);

  // Marks the outputs and hands the new graph over.
  Graph finish();

 private:
  llmh_tensor copy_source(llmh_tensor old_tensor);

  const Graph& source_;
  Graph target_;
  std::vector<llmh_tensor> map_;
};

}  // namespace llmhost::graph
