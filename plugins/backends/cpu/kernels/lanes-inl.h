// Vectors of f32 whose last lanes are absent: read as zero, left alone when written. The library's masked
// load and store need alignment and touch absent lanes on the older instruction sets.
#if defined(LLMHOST_CPU_LANES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LLMHOST_CPU_LANES_INL_H_
#undef LLMHOST_CPU_LANES_INL_H_
#else
#define LLMHOST_CPU_LANES_INL_H_
#endif

#include <cstring>

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace llmhost::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using F32 = hn::ScalableTag<float>;
using Floats = hn::Vec<F32>;

HWY_INLINE int64_t lane_count() {
  return static_cast<int64_t>(hn::Lanes(F32()));
}

// The first n of the lanes, 0 < n < lanes.
HWY_INLINE Floats load_tail(F32 d, const float* p, int64_t n) {
#if HWY_TARGET <= HWY_AVX2
  return hn::MaskedLoad(hn::FirstN(d, static_cast<size_t>(n)), d, p);
#else
  HWY_ALIGN float padded[hn::MaxLanes(F32())] = {};
  std::memcpy(padded, p, static_cast<size_t>(n) * sizeof(float));
  return hn::Load(d, padded);
#endif
}

HWY_INLINE void store_tail(F32 d, Floats v, float* p, int64_t n) {
  HWY_ALIGN float padded[hn::MaxLanes(F32())];
  hn::Store(v, d, padded);
  std::memcpy(p, padded, static_cast<size_t>(n) * sizeof(float));
}

}  // namespace llmhost::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
