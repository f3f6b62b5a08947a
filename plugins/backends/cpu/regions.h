// A program's calls in regions: what runs between two meetings of the threads. A region rounds over rows
// first: row-wise calls, a block of rows through all of them while it is in a cache, and the rounding of what
// comes next; then come products with one input; or it is any other call by itself.
#pragma once

#include <vector>

#include "ops/op.h"
#include "ops/rounding.h"

namespace llmhost::cpu {

struct Region {
  std::vector<const Call*> rows;  // row-wise calls of row_symbol
  int32_t row_symbol = LLMH_DIM_CONST;
  int64_t row_elements = 0;  // that a unit of the symbol has in all of them
  RoundedInput rounded;
  std::vector<const Call*> products;
  bool has_sites = false;  // among the products
  const Call* single = nullptr;
};

// `calls` must stay where they are; their sites get their places in the scratch.
std::vector<Region> make_regions(std::vector<Call>& calls, const llmh_limits& limits);

void run_region(const RunContext& context, const Region& region);

}  // namespace llmhost::cpu
