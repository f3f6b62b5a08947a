#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/gemm.cpp"
#include "hwy/foreach_target.h"  // must come before highway.h
#include "hwy/highway.h"
#include "kernels/gemm-inl.h"
#include "kernels/kernels.h"

HWY_BEFORE_NAMESPACE();
namespace llmhost::cpu::HWY_NAMESPACE {
namespace {

void turn(const GemmRows& rows, int64_t depth, int64_t width, float* out) {
  for (int64_t first = 0; first < width; first += 4) {
    const int64_t n = std::clamp<int64_t>(rows.n - first, 0, 4);
    const float* x[4] = {};
    for (int64_t r = 0; r < n; ++r) x[r] = rows.row(first + r);
    turn_four(x, n, depth, width, out + first);
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

using Wide = hn::Rebind<uint32_t, F32>;

// bf16 in the upper half of each lane, to nearest even; NaN stays NaN.
HWY_INLINE hn::Vec<Wide> rounded_up_there(Floats value) {
  const Wide wide;
  const auto bits = hn::BitCast(wide, value);
  const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(wide, 1U));
  const auto rounded = hn::Add(hn::Add(bits, hn::Set(wide, 0x7FFFU)), odd);
  const auto quiet = hn::Or(bits, hn::Set(wide, 0x400000U));
  return hn::IfThenElse(hn::RebindMask(wide, hn::IsNaN(value)), quiet, rounded);
}

HWY_INLINE hn::Vec<Wide> pair_of(Floats low, Floats high) {
  const Wide wide;
  return hn::Or(hn::ShiftRight<16>(rounded_up_there(low)),
                hn::And(rounded_up_there(high), hn::Set(wide, 0xFFFF0000U)));
}

void spread_bf16(const float* low, const float* high, int64_t n, int64_t panel, uint32_t* out) {
  const F32 d;
  const Wide wide;
  for (int64_t i = 0; i < n; i += kGemmColumns, out += panel) {
    for (int64_t v = 0; v < kGemmColumns; v += kLanes) {
      const auto mask = hn::FirstN(d, static_cast<size_t>(std::clamp<int64_t>(n - i - v, 0, kLanes)));
      const auto first = hn::MaskedLoad(mask, d, low + i + v);
      const auto second = high == nullptr ? hn::Zero(d) : hn::MaskedLoad(mask, d, high + i + v);
      hn::StoreU(pair_of(first, second), wide, out + v);
    }
  }
}

// A row of pairs (k, k + 1).
void round_row(const float* x, int64_t depth, uint16_t* out) {
  const F32 d;
  const hn::Rebind<uint16_t, F32> narrow;
  const hn::Rebind<int32_t, F32> whole;
  for (int64_t k = 0; k < depth; k += kLanes) {
    const auto mask = hn::FirstN(d, static_cast<size_t>(std::min<int64_t>(depth - k, kLanes)));
    const auto high = hn::ShiftRight<16>(rounded_up_there(hn::MaskedLoad(mask, d, x + k)));
    hn::StoreU(hn::DemoteTo(narrow, hn::BitCast(whole, high)), narrow, out + k);
  }
}

void turn_bf16(const GemmRows& rows, int64_t depth, int64_t width, uint32_t* out) {
  constexpr int64_t kPart = 512;
  for (int64_t begin = 0; begin < depth; begin += kPart) {
    const int64_t count = std::min(kPart, depth - begin);
    for (int64_t first = 0; first < width; first += 4) {
      alignas(64) uint16_t rounded[4][kPart + 32];
      const int64_t n = std::clamp<int64_t>(rows.n - first, 0, 4);
      const float* x[4] = {};
      for (int64_t r = 0; r < n; ++r) {
        round_row(rows.row(first + r) + begin, count, rounded[r]);
        if (count % 2 != 0) rounded[r][count] = 0;
        x[r] = reinterpret_cast<const float*>(rounded[r]);
      }
      turn_four(x, n, (count + 1) / 2, width, reinterpret_cast<float*>(out) + begin / 2 * width + first);
    }
  }
}

#endif

GemmKernels gemm_table() {
  GemmKernels t;
  t.tile_rows = kGemmTileRows;
  t.columns = kGemmColumns;
  t.f32 = gemm_any_rows<GemmF32, kGemmTileRows>;
  t.turn = turn;
  t.spread = spread;
  t.bf16 = nullptr;
  t.turn_bf16 = nullptr;
  t.spread_bf16 = nullptr;
#if HWY_TARGET == HWY_AVX3
  t.bf16 = gemm_any_rows<GemmBf16, kGemmTileRows>;
  t.turn_bf16 = turn_bf16;
  t.spread_bf16 = spread_bf16;
#endif
  return t;
}

}  // namespace
}  // namespace llmhost::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace llmhost::cpu {
HWY_EXPORT(gemm_table);
GemmKernels gemm_kernels() {
  return HWY_DYNAMIC_DISPATCH(gemm_table)();
}
}  // namespace llmhost::cpu
#endif
