// The reference evaluator: a slow, obvious f32 interpreter that is the meaning of every op. Primitive ops are
// evaluated here, composite ones through their decomposition. Sums (matmul, reduce) are accumulated in double
// and rounded once, so that it is a better oracle than f32 code; the ops of training are double from their
// inputs to their results; all else is f32.
//
// The numbers of one sequence do not depend on the others in the step, bit for bit.
#pragma once

#include "llmhost/backend.h"

namespace llmhost::graph {

// For backends that leave ops to the host (LLMH_REFERENCE_EXTENSION). Static lifetime. [thread-safe]
const llmh_reference* reference_extension();

// The built-in backend "reference": no ops of its own, everything through the evaluator. Static lifetime.
const llmh_backend* reference_backend();

// How its adapters are made: plain copies of the deltas. The steps that eval_node is given hold such
// adapters. Static lifetime. [thread-safe]
const llmh_adapters* reference_adapters();

// What one evaluation works on; all pointers are the caller's.
struct Evaluation {
  const llmh_graph& graph;
  // [n_tensors] dense elements by tensor; for constants and step inputs null stands for the graph's and the
  // step's own data.
  void* const* tensors;
  const llmh_step& step;
  const llmh_state_view* const* states = nullptr;  // [n_states]
  uint32_t n_states = 0;
  void* const* state_data = nullptr;  // [n_states] page 0 of each slot
};

// Runs one node. Throws llmhost::Error.
void eval_node(const Evaluation& evaluation, uint32_t node);

}  // namespace llmhost::graph
