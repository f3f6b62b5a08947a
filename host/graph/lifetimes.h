// Where activations lie while they live: one arena, sized for the largest step, in which tensors that never
// live at the same time share bytes.
#pragma once

#include <cstdint>
#include <vector>

#include "graph/graph.h"
#include "llmhost/backend.h"

namespace llmhost::graph {

constexpr uint64_t kNoOffset = UINT64_MAX;

struct ArenaPlan {
  std::vector<uint64_t> offsets;  // [n_tensors] multiples of 64; kNoOffset for what is no activation
  uint64_t bytes = 0;
};

// A tensor lives from the node that makes it to the last node that reads it, both included; outputs of the
// graph live to the end. Throws kOutOfRange when sizes overflow.
ArenaPlan plan_arena(const Graph& graph, const llmh_limits& limits);

}  // namespace llmhost::graph
