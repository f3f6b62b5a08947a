// Rows of any length by vectors: the last one may be short, what it lacks is read as zero.
#if defined(LLMHOST_CPU_ROWS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LLMHOST_CPU_ROWS_INL_H_
#undef LLMHOST_CPU_ROWS_INL_H_
#else
#define LLMHOST_CPU_ROWS_INL_H_
#endif

#include "kernels/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace llmhost::cpu::HWY_NAMESPACE {

// Calls f(i, n) for each vector's first index and number of elements.
template <typename Function>
HWY_INLINE void for_vectors(int64_t n, const Function& f) {
  const auto lanes = lane_count();
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) f(i, lanes);
  if (i < n) f(i, n - i);
}

HWY_INLINE Floats load(F32 d, const float* x, int64_t n) {
  if (n == lane_count()) return hn::LoadU(d, x);
  return load_tail(d, x, n);
}

HWY_INLINE void store(F32 d, Floats v, float* y, int64_t n) {
  if (n == lane_count()) return hn::StoreU(v, d, y);
  store_tail(d, v, y, n);
}

HWY_INLINE float sum_lanes(Floats v) {
  const F32 d;
  return hn::GetLane(hn::SumOfLanes(d, v));
}

}  // namespace llmhost::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
