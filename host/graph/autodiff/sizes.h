// Dimensions of what has the same size in every step: weights and parameters.
#pragma once

#include <cstdint>
#include <vector>

#include "graph/types.h"

namespace llmhost::graph {

inline std::vector<int64_t> sizes_of(const llmh_tensor_info& info) {
  std::vector<int64_t> sizes;
  for (const llmh_dim& dim : dims_of(info)) sizes.push_back(dim.size);
  return sizes;
}

}  // namespace llmhost::graph
