// Which activations of the forward part wait in memory for the backward part, and which are computed again.
#pragma once

#include <vector>

#include "graph/autodiff/autodiff.h"
#include "graph/autodiff/layers.h"

namespace llmhost::graph {

struct SavePlan {
  std::vector<bool> kept;             // by tensor
  std::vector<llmh_dtype> stored_as;  // by tensor: f32, or the type in which a kept one waits
};

SavePlan keep_everything(const Graph& graph);

// The cheapest choice, in bytes, from which every wanted tensor can be had: elementwise ops, norms, rotations
// and data movement may run again, products and attention may not, except within a layer when layers are
// checkpointed. Of equal choices the one with the least to compute again. (A minimum cut of the forward
// part.)
SavePlan plan_saving(const Graph& graph, const std::vector<bool>& wanted, const Layers& layers,
                     const DifferentiateOptions& options);

}  // namespace llmhost::graph
