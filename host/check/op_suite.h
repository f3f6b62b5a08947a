// Small graphs of one op each, on a backend and on the reference evaluator.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "graph/graph.h"
#include "llmhost/backend.h"

namespace llmhost::check {

struct OpCase {
  const char* name;
  // Adds the op to x [T, 32] and gives its result, f32 [T, N].
  llmh_tensor (*build)(graph::Graph& graph, llmh_tensor x);
};

std::span<const OpCase> all_op_cases();

// The largest difference as a note; throws Error when it is too large.
std::string run_op_case(const OpCase& op, const llmh_backend& backend, const std::string& backend_id);

// Fixed values in [-1, 1), others for each seed.
std::vector<float> fixed_values(int64_t n, uint32_t seed);

}  // namespace llmhost::check
