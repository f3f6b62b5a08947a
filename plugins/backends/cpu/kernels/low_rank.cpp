// The second half of a low-rank change: some rows of u times B, added to rows of y that hold the base's
// product.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/low_rank.cpp"
#include "hwy/cache_control.h"
#include "hwy/foreach_target.h"  // must come before highway.h
#include "hwy/highway.h"
#include "kernels/dense_tile-inl.h"
#include "kernels/kernels.h"

HWY_BEFORE_NAMESPACE();
namespace llmhost::cpu::HWY_NAMESPACE {
namespace {

constexpr int kUnit = kLowRankColumns;
constexpr int kUnitVectors = kUnit / kLanes;
constexpr int64_t kAhead = 8192;  // bytes between use and prefetch; what follows B is the next module's A
// Rows and units of columns of a tile: 16 accumulators where there are 32 registers, 8 where there are 16.
// One row reads B unit after unit, as one stream; the units do not wait for each other.
#if HWY_TARGET == HWY_AVX3
constexpr int kTallRows = 4;
constexpr int kTallUnits = 4;
#elif HWY_TARGET == HWY_AVX2 || HWY_ARCH_ARM_A64
constexpr int kTallRows = 4;
constexpr int kTallUnits = 1;
#else
constexpr int kTallRows = 2;
constexpr int kTallUnits = 1;
#endif

HWY_INLINE Floats load_part(const float* p, int64_t n) {
  const F32 d;
  return n >= kLanes ? hn::LoadU(d, p) : load_tail(d, p, n);
}

// y of up to a vector of columns, n of them.
HWY_INLINE void finish(const LowRankTile& tile, float* y, Floats sum, int64_t column, int64_t n) {
  const F32 d;
  if (tile.b_bias != nullptr) sum = hn::Add(sum, load_part(tile.b_bias + column, n));
  const auto change = hn::Mul(hn::Set(d, tile.scale), sum);
  Floats value = load_part(y, n);
  const bool is_plain = tile.row_scale == nullptr && tile.new_bias == nullptr;
  if (!is_plain && tile.bias != nullptr) value = hn::Sub(value, load_part(tile.bias + column, n));
  value = hn::Add(value, change);
  if (tile.row_scale != nullptr) value = hn::Mul(value, load_part(tile.row_scale + column, n));
  if (!is_plain) {
    const float* bias = tile.new_bias != nullptr ? tile.new_bias : tile.bias;
    if (bias != nullptr) value = hn::Add(value, load_part(bias + column, n));
  }
  if (n >= kLanes)
    hn::StoreU(value, d, y);
  else
    store_tail(d, value, y, n);
}

// kRows rows from `row` on and kUnits units of columns from `column` on, the rank ascending in one
// accumulator.
template <class Stored, int kRows, int kUnits>
HWY_INLINE void expand_tile(const LowRankTile& tile, int64_t row, int64_t column) {
  constexpr int kVectors = kUnits * kUnitVectors;
  const uint8_t* b = tile.b + column * tile.rank * Stored::kBytes;
  const float* u[kRows];
  Floats sum[kRows][kVectors];
  each<kRows>([&](int r) LLMHOST_CPU_INLINED {
    u[r] = tile.u + row_of(tile.rows, row + r) * tile.u_stride;
    each<kVectors>([&](int v) LLMHOST_CPU_INLINED { sum[r][v] = hn::Zero(F32()); });
  });
  for (int64_t k = 0; k < tile.rank; ++k) {
    Floats values[kVectors];
    each<kVectors>([&](int v) LLMHOST_CPU_INLINED {
      const int64_t at = (v / kUnitVectors * tile.rank + k) * kUnit + v % kUnitVectors * kLanes;
      values[v] = Stored::load(b + at * Stored::kBytes);
    });
    each<kRows>([&](int r) LLMHOST_CPU_INLINED {
      const auto factor = hn::Set(F32(), u[r][k]);
      each<kVectors>([&](int v)
                         LLMHOST_CPU_INLINED { sum[r][v] = hn::MulAdd(factor, values[v], sum[r][v]); });
    });
  }
  each<kRows>([&](int r) LLMHOST_CPU_INLINED {
    float* y = tile.y + row_of(tile.rows, row + r) * tile.y_stride + column;
    each<kVectors>([&](int v) LLMHOST_CPU_INLINED {
      const int64_t first = column + v * kLanes;
      if (first < tile.columns) finish(tile, y + v * kLanes, sum[r][v], first, tile.columns - first);
    });
  });
}

template <class Stored, int kUnits>
HWY_INLINE int64_t expand_units(const LowRankTile& tile, int64_t column) {
  for (; column + (kUnits - 1) * kUnit < tile.columns; column += kUnits * kUnit) {
    int64_t row = 0;
    for (; row + kTallRows <= tile.n_rows; row += kTallRows)
      expand_tile<Stored, kTallRows, kUnits>(tile, row, column);
    for (; row < tile.n_rows; ++row) expand_tile<Stored, 1, kUnits>(tile, row, column);
  }
  return column;
}

template <class Stored>
void expand(const LowRankTile& tile) {
  if (tile.n_rows >= kTallRows) {
    int64_t column = 0;
    if constexpr (kTallUnits > 1) column = expand_units<Stored, kTallUnits>(tile, column);
    expand_units<Stored, 1>(tile, column);
    return;
  }
  const int64_t unit_bytes = tile.rank * kUnit * Stored::kBytes;
  for (int64_t column = 0; column < tile.columns; column += kUnit) {
    const int64_t ahead = column / kUnit * unit_bytes + kAhead;
    for (int64_t line = ahead; line < ahead + unit_bytes; line += 64) hwy::Prefetch(tile.b + line);
    for (int64_t row = 0; row < tile.n_rows; ++row) expand_tile<Stored, 1, 1>(tile, row, column);
  }
}

LowRankKernels low_rank_table() {
  return {expand<StoredF32>, expand<StoredF16>, expand<StoredBf16>};
}

}  // namespace
}  // namespace llmhost::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace llmhost::cpu {
HWY_EXPORT(low_rank_table);
LowRankKernels low_rank_kernels() {
  return HWY_DYNAMIC_DISPATCH(low_rank_table)();
}
}  // namespace llmhost::cpu
#endif
