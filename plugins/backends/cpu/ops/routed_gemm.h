// Blocked products of each expert with its rows.
#pragma once

#include <algorithm>

#include "ops/gemm.h"
#include "ops/routing.h"

namespace llmhost::cpu {

// make(i) is the product of expert i of n; all have the same columns. `mean` is one of about the mean size.
template <typename Make>
void run_routed(const RunContext& context, const Gemm& mean, int64_t n, const Make& make) {
  if (n == 0) return;
  const GemmKernels& kernels = context.kernels.gemm;
  const auto threads = static_cast<int32_t>((context.n_threads() + n - 1) / n);
  const GemmGrid columns = gemm_grid(kernels, mean, threads);
  context.parallel(n * columns.n_columns, [&](int64_t item, int32_t thread) {
    const Gemm gemm = make(item / columns.n_columns);
    GemmGrid grid = columns;
    grid.rows = std::max<int64_t>(gemm.m, 1);
    grid.n_rows = 1;
    run_piece(kernels, gemm, grid, item % columns.n_columns, context.thread_scratch(thread));
  });
}

// The rows of `routing`: of the left operand, and of c.
inline void choose_rows(Gemm& gemm, const Routing& routing, int64_t expert, const int32_t* left_rows) {
  gemm.m = routing.count(expert);
  gemm.left.n = gemm.m;
  gemm.left.rows = left_rows + routing.begin[expert];
  gemm.c_rows = routing.y_rows + routing.begin[expert];
}

}  // namespace llmhost::cpu
