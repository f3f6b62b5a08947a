#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/linear.cpp"
#include "hwy/foreach_target.h"  // must come before highway.h
#include "hwy/highway.h"
#include "kernels/kernels.h"
#include "kernels/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace llmhost::cpu::HWY_NAMESPACE {
namespace {

// Register tiles: 16 accumulators where there are 32 registers, 8 where there are 16.
#if HWY_TARGET == HWY_AVX3
constexpr int kTileTokens = 4;
#else
constexpr int kTileTokens = 2;
#endif

HWY_INLINE int64_t row_of(const int32_t* rows, int64_t token) {
  return rows == nullptr ? token : rows[token];
}

// Each output has its own accumulator and the same order of additions whatever the tile is.
template <int kTokens, int kRows>
HWY_INLINE void dot_tile(const LinearTile& tile, int64_t token, int64_t row) {
  const F32 d;
  const auto lanes = lane_count();
  const float* x[kTokens];
  const float* w[kRows];
  Floats sum[kTokens][kRows];
  for (int t = 0; t < kTokens; ++t) x[t] = static_cast<const float*>(tile.x) + row_of(tile.x_rows, token + t) * tile.x_stride;
  for (int r = 0; r < kRows; ++r) w[r] = static_cast<const float*>(tile.w) + (row + r) * tile.w_stride;
  for (int t = 0; t < kTokens; ++t)
    for (int r = 0; r < kRows; ++r) sum[t][r] = hn::Zero(d);

  int64_t k = 0;
  for (; k + lanes <= tile.depth; k += lanes) {
    Floats weights[kRows];
    for (int r = 0; r < kRows; ++r) weights[r] = hn::LoadU(d, w[r] + k);
    for (int t = 0; t < kTokens; ++t) {
      const auto value = hn::LoadU(d, x[t] + k);
      for (int r = 0; r < kRows; ++r) sum[t][r] = hn::MulAdd(value, weights[r], sum[t][r]);
    }
  }
  if (k < tile.depth) {
    const int64_t rest = tile.depth - k;
    for (int t = 0; t < kTokens; ++t) {
      const Floats value = load_tail(d, x[t] + k, rest);
      for (int r = 0; r < kRows; ++r) sum[t][r] = hn::MulAdd(value, load_tail(d, w[r] + k, rest), sum[t][r]);
    }
  }
  for (int t = 0; t < kTokens; ++t) {
    float* y = tile.y + row_of(tile.y_rows, token + t) * tile.y_stride + row;
    for (int r = 0; r < kRows; ++r) {
      const float total = hn::GetLane(hn::SumOfLanes(d, sum[t][r]));
      y[r] = tile.bias == nullptr ? total : total + tile.bias[row + r];
    }
  }
}

template <int kTokens>
void dot_tokens(const LinearTile& tile, int64_t token) {
  int64_t row = 0;
  if constexpr (kTokens == 1) {
    for (; row + 8 <= tile.rows; row += 8) dot_tile<1, 8>(tile, token, row);
  }
  for (; row + 4 <= tile.rows; row += 4) dot_tile<kTokens, 4>(tile, token, row);
  for (; row < tile.rows; ++row) dot_tile<kTokens, 1>(tile, token, row);
}

void dot(const LinearTile& tile) {
  int64_t token = 0;
  for (; token + kTileTokens <= tile.tokens; token += kTileTokens) dot_tokens<kTileTokens>(tile, token);
  for (; token < tile.tokens; ++token) dot_tokens<1>(tile, token);
}

template <int kVectors>
HWY_INLINE void combine_block(const float* a, const float* b, int64_t b_stride, int64_t depth, float* y) {
  const F32 d;
  const auto lanes = lane_count();
  Floats sum[kVectors];
  for (int v = 0; v < kVectors; ++v) sum[v] = hn::Zero(d);
  for (int64_t k = 0; k < depth; ++k) {
    const auto factor = hn::Set(d, a[k]);
    for (int v = 0; v < kVectors; ++v)
      sum[v] = hn::MulAdd(factor, hn::LoadU(d, b + k * b_stride + v * lanes), sum[v]);
  }
  for (int v = 0; v < kVectors; ++v) hn::StoreU(sum[v], d, y + v * lanes);
}

void combine(const float* a, const float* b, int64_t b_stride, int64_t depth, int64_t n, float* y) {
  const F32 d;
  const auto lanes = lane_count();
  int64_t i = 0;
  for (; i + 4 * lanes <= n; i += 4 * lanes) combine_block<4>(a, b + i, b_stride, depth, y + i);
  for (; i + lanes <= n; i += lanes) combine_block<1>(a, b + i, b_stride, depth, y + i);
  if (i == n) return;
  auto sum = hn::Zero(d);
  for (int64_t k = 0; k < depth; ++k)
    sum = hn::MulAdd(hn::Set(d, a[k]), load_tail(d, b + k * b_stride + i, n - i), sum);
  store_tail(d, sum, y + i, n - i);
}

LinearKernels linear_table() {
  return {dot, combine};
}

const char* isa_name() {
  return hwy::TargetName(HWY_TARGET);
}

}  // namespace
}  // namespace llmhost::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace llmhost::cpu {
HWY_EXPORT(linear_table);
HWY_EXPORT(isa_name);
LinearKernels linear_kernels() {
  return HWY_DYNAMIC_DISPATCH(linear_table)();
}
const char* current_isa() {
  return HWY_DYNAMIC_DISPATCH(isa_name)();
}
}  // namespace llmhost::cpu
#endif
