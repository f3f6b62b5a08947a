#include "ops/gemm_left.h"

#include <algorithm>

namespace llmhost::cpu {
namespace {

constexpr int64_t kMostBytes = 16 * 1024 * 1024;  // of a cache that threads share
constexpr int64_t kFewRows = 64;
constexpr int64_t kFewColumns = 64;    // that repay packing
constexpr int64_t kRowsAtOnce = 256;   // least: the right operand is packed for each lot of rows
constexpr int64_t kLongestPanel = 16;  // rows of memory for those of the kernel's tile, of which
constexpr int64_t kShortestPanel = 4;  // there are no fewer than 3 in 4

}  // namespace

uint64_t LeftPanels::bytes(int64_t rows, int64_t depth) {
  if (rows < kFewRows) return 0;
  const int64_t with_gaps = rows / (kShortestPanel - 1) * kShortestPanel + 2 * kLongestPanel;
  const int64_t floats = std::min(with_gaps * std::max<int64_t>(depth, 1), kMostBytes / 4);
  return static_cast<uint64_t>(floats) * sizeof(float);
}

int64_t LeftPanels::rows_at_once(const GemmKernels& kernels, const Gemm& gemm) const {
  if (gemm.m < kFewRows || gemm.n < kFewColumns || gemm.left_is_deep || gemm.turns ||
      gemm.left.rows != nullptr || gemm.c_rows != nullptr)
    return 0;
  const int64_t of_panel = std::max<int64_t>(1, gemm.words() * panel_width(kernels));
  const int64_t rows = std::min(floats_, kMostBytes / 4) / of_panel * kernels.tile_rows;
  return rows < std::min(gemm.m, kRowsAtOnce) ? 0 : std::min(rows, gemm.m);
}

const float* LeftPanels::pack(const RunContext& context, const Gemm& gemm) {
  if (x_ == gemm.left.x && rows_ == gemm.m && is_bf16_ == gemm.is_bf16) return memory_;
  const GemmKernels& kernels = context.kernels.gemm;
  const int64_t width = panel_width(kernels);
  const int64_t panel = gemm.words() * width;
  const int64_t tall = kernels.tile_rows;
  const int64_t grain = kGrain / (tall * std::max<int64_t>(1, gemm.depth)) + 1;
  context.parallel_ranges((gemm.m + tall - 1) / tall, grain, [&](int64_t begin, int64_t end, int32_t) {
    for (int64_t p = begin; p < end; ++p) {
      GemmRows rows = gemm.left;
      rows.x += p * tall * rows.stride;
      rows.n = std::min(tall, gemm.m - p * tall);
      if (gemm.is_bf16)
        kernels.turn_bf16(rows, gemm.depth, width, reinterpret_cast<uint32_t*>(memory_ + p * panel));
      else
        kernels.turn(rows, gemm.depth, width, memory_ + p * panel);
    }
  });
  x_ = gemm.left.x;
  rows_ = gemm.m;
  is_bf16_ = gemm.is_bf16;
  return memory_;
}

}  // namespace llmhost::cpu
