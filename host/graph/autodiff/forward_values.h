// The forward part of a training graph, and its values as the backward part reads them: kept, stored in a
// narrower type, or computed again.
#pragma once

#include <map>
#include <vector>

#include "graph/autodiff/layers.h"
#include "graph/autodiff/saving.h"
#include "graph/rewrite.h"

namespace llmhost::graph {

class ForwardValues {
 public:
  // Writes the forward part. Both must outlive it.
  ForwardValues(const Graph& source, const SavePlan& plan);

  Graph& target() { return rewriter_.target(); }
  // The tensor of the new graph that holds the value of a tensor of the old one.
  llmh_tensor value(llmh_tensor tensor);
  // What was made again for another layer is forgotten, so that it does not live through this one.
  void enter(int32_t layer);
  // The activations that value() was asked for.
  const std::vector<bool>& wanted() const { return wanted_; }
  // Marks the outputs and hands the new graph over.
  Graph finish() { return rewriter_.finish(); }

 private:
  llmh_tensor restore(llmh_tensor tensor);
  llmh_tensor run_again(llmh_tensor tensor);

  const SavePlan& plan_;
  Rewriter rewriter_;
  std::vector<bool> wanted_;
  std::vector<llmh_tensor> stored_;             // by old tensor: its narrower copy
  std::map<llmh_tensor, llmh_tensor> at_hand_;  // old tensors that are there again
  int32_t layer_ = kNoLayer;
};

}  // namespace llmhost::graph
