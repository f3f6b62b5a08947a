// Dropout by the counter-based generator of llmh_dropout_keep, many elements at once.
#if defined(LLMHOST_CPU_DROPOUT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LLMHOST_CPU_DROPOUT_INL_H_
#undef LLMHOST_CPU_DROPOUT_INL_H_
#else
#define LLMHOST_CPU_DROPOUT_INL_H_
#endif

#include "kernels/dropout.h"
#include "kernels/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace llmhost::cpu::HWY_NAMESPACE {
namespace {

#if HWY_TARGET != HWY_SCALAR
using Words = hn::Vec<hn::Repartition<uint64_t, F32>>;

HWY_INLINE Words mix(Words z) {
  const hn::Repartition<uint64_t, F32> d;
  z = hn::Mul(hn::Xor(z, hn::ShiftRight<30>(z)), hn::Set(d, kMixFirst));
  z = hn::Mul(hn::Xor(z, hn::ShiftRight<27>(z)), hn::Set(d, kMixSecond));
  return hn::Xor(z, hn::ShiftRight<31>(z));
}
#endif

// The steps from column to column are equal, for columns stay below 2^32.
void dropout(uint64_t state, uint32_t least, float factor, int64_t i, const float* x, int64_t n, float* y) {
  int64_t done = 0;
#if HWY_TARGET != HWY_SCALAR
  const F32 d;
  const hn::Repartition<uint64_t, F32> d64;
  const hn::Repartition<uint32_t, F32> d32;
  const auto lanes = lane_count();
  const auto half = static_cast<uint64_t>(lanes / 2);
  Words low = hn::Mul(hn::Iota(d64, static_cast<uint64_t>(i)), hn::Set(d64, kCounterStep));
  low = hn::Add(low, hn::Set(d64, state));
  const Words ahead = hn::Set(d64, half * kCounterStep);
  const auto bound = hn::Set(d32, least);
  const Floats scale = hn::Set(d, factor);
  for (; done + lanes <= n; done += lanes) {
    const Words high = hn::Add(low, ahead);
    const auto numbers = hn::ConcatOdd(d32, hn::BitCast(d32, mix(high)), hn::BitCast(d32, mix(low)));
    const auto is_dropped = hn::RebindMask(d, hn::Lt(numbers, bound));
    hn::StoreU(hn::Mul(hn::LoadU(d, x + done), hn::IfThenZeroElse(is_dropped, scale)), d, y + done);
    low = hn::Add(high, ahead);
  }
#endif
  for (; done < n; ++done) {
    const uint64_t z = mix_words(state + kCounterStep * static_cast<uint64_t>(i + done));
    y[done] = x[done] * ((z >> 32) >= least ? factor : 0.0F);
  }
}

}  // namespace
}  // namespace llmhost::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
