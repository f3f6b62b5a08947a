// Operands of gemm-inl.h to panels: rows turned into columns, rows spread over panels, and both in bf16.
#if defined(LLMHOST_CPU_GEMM_PACK_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LLMHOST_CPU_GEMM_PACK_INL_H_
#undef LLMHOST_CPU_GEMM_PACK_INL_H_
#else
#define LLMHOST_CPU_GEMM_PACK_INL_H_
#endif

#include <algorithm>
#include <cstring>

#include "hwy/highway.h"
#include "kernels/gemm-inl.h"

HWY_BEFORE_NAMESPACE();
namespace llmhost::cpu::HWY_NAMESPACE {
namespace {

// Turned at a time: a panel of as many columns is in the first-level cache.
constexpr int64_t kTurnedDepth = 128;

#if HWY_TARGET != HWY_SCALAR
// Blocks of 4 x 4 elements turned, one in each 128 bits.
template <class D>
HWY_INLINE void turn_blocks(D d, const hn::Vec<D>* x, int64_t width, float* out) {
  const hn::Repartition<double, D> pairs;
  const auto low01 = hn::BitCast(pairs, hn::InterleaveLower(d, x[0], x[1]));
  const auto low23 = hn::BitCast(pairs, hn::InterleaveLower(d, x[2], x[3]));
  const auto high01 = hn::BitCast(pairs, hn::InterleaveUpper(d, x[0], x[1]));
  const auto high23 = hn::BitCast(pairs, hn::InterleaveUpper(d, x[2], x[3]));
  hn::StoreU(hn::BitCast(d, hn::InterleaveLower(pairs, low01, low23)), d, out);
  hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(pairs, low01, low23)), d, out + width);
  hn::StoreU(hn::BitCast(d, hn::InterleaveLower(pairs, high01, high23)), d, out + 2 * width);
  hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(pairs, high01, high23)), d, out + 3 * width);
}
#endif

#if HWY_TARGET == HWY_AVX3

constexpr int64_t kTurnedRows = 16;

// Four elements of each of 16 rows.
HWY_INLINE void turn_four(const float* const* x, int64_t k, int64_t width, float* out) {
  const F32 d;
  const hn::Repartition<double, F32> d64;
  const auto quad = [&](int r) HWY_ATTR { return hn::BitCast(d64, hn::LoadDup128(d, x[r] + k)); };
  const auto half = hn::FirstN(d64, 4);
  const auto quarter = hn::MaskFromVec(hn::BitCast(
      d64, hn::OddEvenBlocks(
               hn::Zero(hn::Repartition<uint64_t, F32>()),
               hn::BitCast(hn::Repartition<uint64_t, F32>(), hn::Set(hn::Repartition<int64_t, F32>(), -1)))));
  hn::Vec<F32> rows[4];
  for (int r = 0; r < 4; ++r) {
    const auto lower = hn::IfThenElse(quarter, quad(r), quad(r + 4));
    const auto upper = hn::IfThenElse(quarter, quad(r + 8), quad(r + 12));
    rows[r] = hn::BitCast(d, hn::IfThenElse(half, lower, upper));
  }
  turn_blocks(d, rows, width, out);
}

#elif HWY_TARGET != HWY_SCALAR

constexpr int64_t kTurnedRows = 4;

HWY_INLINE void turn_four(const float* const* x, int64_t k, int64_t width, float* out) {
  const hn::FixedTag<float, 4> d;
  const hn::Vec<decltype(d)> rows[4] = {hn::LoadU(d, x[0] + k), hn::LoadU(d, x[1] + k),
                                        hn::LoadU(d, x[2] + k), hn::LoadU(d, x[3] + k)};
  turn_blocks(d, rows, width, out);
}

#else

constexpr int64_t kTurnedRows = 4;

HWY_INLINE void turn_four(const float* const* x, int64_t k, int64_t width, float* out) {
  for (int64_t i = 0; i < 4; ++i)
    for (int64_t r = 0; r < 4; ++r) out[i * width + r] = x[r][k + i];
}

#endif

// `width` rows, of f32 or of other 32 bits.
HWY_INLINE void turn_rows(const float* const* x, int64_t depth, int64_t width, float* out) {
  int64_t k = 0;
  for (; k + 4 <= depth; k += 4) {
    int64_t r = 0;
    for (; r + kTurnedRows <= width; r += kTurnedRows) turn_four(x + r, k, width, out + k * width + r);
    for (; r < width; ++r)
      for (int64_t i = k; i < k + 4; ++i) std::memcpy(out + i * width + r, x[r] + i, sizeof(float));
  }
  for (; k < depth; ++k)
    for (int64_t r = 0; r < width; ++r) std::memcpy(out + k * width + r, x[r] + k, sizeof(float));
}

// Row r of a panel; the last one stands for those that are absent.
HWY_INLINE const float* present_row(const GemmRows& rows, int64_t r) {
  return rows.row(std::min(r, rows.n - 1));
}

void turn(const GemmRows& rows, int64_t depth, int64_t width, float* out) {
  const float* x[kGemmMostColumns];
  for (int64_t r = 0; r < width; ++r) x[r] = present_row(rows, r);
  for (int64_t begin = 0; begin < depth; begin += kTurnedDepth) {
    turn_rows(x, std::min(kTurnedDepth, depth - begin), width, out + begin * width);
    for (int64_t r = 0; r < width; ++r) x[r] += kTurnedDepth;
  }
}

void spread(const float* x, int64_t n, int64_t panel, float* out) {
  const F32 d;
  for (; n >= kGemmColumns; n -= kGemmColumns, x += kGemmColumns, out += panel)
    for (int v = 0; v < kGemmColumns; v += kLanes) hn::StoreU(hn::LoadU(d, x + v), d, out + v);
  if (n <= 0) return;
  std::memset(out, 0, kGemmColumns * sizeof(float));
  std::memcpy(out, x, static_cast<size_t>(n) * sizeof(float));
}

#if HWY_TARGET == HWY_AVX3

using Wide = hn::Repartition<uint32_t, F32>;
using Short = hn::Repartition<uint16_t, F32>;

// bf16 of both, to nearest even, `low` first; subnormals become zero. Named as in WithBf16.
HWY_INLINE hn::Vec<Short> rounded(Floats low, Floats high) {
  hn::Vec<Short> result;
  asm("vcvtne2ps2bf16 %1, %2, %0" : "=v"(result.raw) : "v"(low.raw), "v"(high.raw));
  return result;
}

// n elements, up to a vector, and zeros.
HWY_INLINE Floats load_some(const float* x, int64_t n) {
  const F32 d;
  return hn::MaskedLoad(hn::FirstN(d, static_cast<size_t>(std::clamp<int64_t>(n, 0, kLanes))), d, x);
}

alignas(64) constexpr uint16_t kPairs[32] = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                                             8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};

void spread_bf16(const float* low, const float* high, int64_t n, int64_t panel, uint32_t* out) {
  const Short d;
  const Wide wide;
  const auto pairs = hn::Load(d, kPairs);
  for (int64_t i = 0; i < n; i += kGemmColumns, out += panel) {
    for (int64_t v = 0; v < kGemmColumns; v += kLanes) {
      const auto first = load_some(low + i + v, n - i - v);
      const auto second = high == nullptr ? hn::Zero(F32()) : load_some(high + i + v, n - i - v);
      const hn::Vec<Short> both{_mm512_permutexvar_epi16(pairs.raw, rounded(first, second).raw)};
      hn::StoreU(hn::BitCast(wide, both), wide, out + v);
    }
  }
}

// n elements of bf16, up to a vector, each in 32 bits, and zeros.
HWY_INLINE hn::Vec<Wide> load_short(const uint8_t* x, int64_t n) {
  const auto there = static_cast<__mmask16>((1U << std::clamp<int64_t>(n, 0, kLanes)) - 1U);
  return hn::Vec<Wide>{_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(there, x))};
}

void spread_pairs(const uint8_t* low, const uint8_t* high, int64_t n, int64_t panel, uint32_t* out) {
  const Wide wide;
  for (int64_t i = 0; i < n; i += kGemmColumns, out += panel) {
    for (int64_t v = 0; v < kGemmColumns; v += kLanes) {
      const int64_t first = i + v;
      const auto second = high == nullptr ? hn::Zero(wide) : load_short(high + 2 * first, n - first);
      hn::StoreU(hn::Or(load_short(low + 2 * first, n - first), hn::ShiftLeft<16>(second)), wide, out + v);
    }
  }
}

// Pairs (k, k + 1) of a row; `out` has room for whole vectors.
HWY_INLINE void round_row(const float* x, int64_t depth, uint16_t* out) {
  int64_t k = 0;
  for (; k + 2 * kLanes <= depth; k += 2 * kLanes)
    hn::StoreU(rounded(hn::LoadU(F32(), x + k), hn::LoadU(F32(), x + k + kLanes)), Short(), out + k);
  if (k < depth)
    hn::StoreU(rounded(load_some(x + k, depth - k), load_some(x + k + kLanes, depth - k - kLanes)), Short(),
               out + k);
}

void turn_bf16(const GemmRows& rows, int64_t depth, int64_t width, uint32_t* out) {
  constexpr int64_t kDepth = 2 * kTurnedDepth;
  constexpr int64_t kStride = kDepth + 32;  // no power of two
  alignas(64) uint16_t pairs[kGemmMostColumns * kStride];
  const float* x[kGemmMostColumns];
  for (int64_t r = 0; r < width; ++r) x[r] = reinterpret_cast<const float*>(pairs + r * kStride);
  for (int64_t begin = 0; begin < depth; begin += kDepth) {
    const int64_t n = std::min(kDepth, depth - begin);
    for (int64_t r = 0; r < width; ++r) round_row(present_row(rows, r) + begin, n, pairs + r * kStride);
    turn_rows(x, (n + 1) / 2, width, reinterpret_cast<float*>(out) + begin / 2 * width);
  }
}

#endif

}  // namespace
}  // namespace llmhost::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
