#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/linear.cpp"
#include "hwy/foreach_target.h"  // must come before highway.h
#include "hwy/highway.h"
#include "kernels/kernels.h"
#include "kernels/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace llmhost::cpu::HWY_NAMESPACE {
namespace {

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
  return {combine};
}

}  // namespace
}  // namespace llmhost::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace llmhost::cpu {
HWY_EXPORT(linear_table);
LinearKernels linear_kernels() {
  return HWY_DYNAMIC_DISPATCH(linear_table)();
}
}  // namespace llmhost::cpu
#endif
