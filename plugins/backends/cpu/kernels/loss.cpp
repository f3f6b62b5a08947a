#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/loss.cpp"
#include <algorithm>
#include <limits>

#include "hwy/foreach_target.h"  // must come before highway.h
#include "hwy/highway.h"
#include "kernels/kernels.h"
#include "kernels/math-inl.h"
#include "kernels/rows-inl.h"

HWY_BEFORE_NAMESPACE();
namespace llmhost::cpu::HWY_NAMESPACE {
namespace {

HWY_INLINE Floats present(F32 d, int64_t n, Floats v) {
  return hn::IfThenElseZero(hn::FirstN(d, static_cast<size_t>(n)), v);
}

float largest(const float* x, int64_t n) {
  const F32 d;
  const auto lanes = lane_count();
  Floats most = hn::Set(d, -std::numeric_limits<float>::infinity());
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) most = hn::Max(most, hn::LoadU(d, x + i));
  float result = hn::GetLane(hn::MaxOfLanes(d, most));
  for (; i < n; ++i) result = std::max(result, x[i]);
  return result;
}

struct ExpSum {
  const float* x;
  float shift;
  Floats* sum;
  HWY_INLINE void operator()(int64_t i, int64_t n) const {
    const F32 d;
    const auto e = exp_of(d, hn::Sub(load(d, x + i, n), hn::Set(d, shift)));
    *sum = hn::Add(*sum, present(d, n, e));
  }
};

float exp_sum(const float* x, int64_t n, float shift) {
  Floats sum = hn::Zero(F32());
  for_vectors(n, ExpSum{x, shift, &sum});
  return sum_lanes(sum);
}

struct ExpScaled {
  const float* x;
  float shift;
  float factor;
  float* y;
  HWY_INLINE void operator()(int64_t i, int64_t n) const {
    const F32 d;
    const auto e = exp_of(d, hn::Sub(load(d, x + i, n), hn::Set(d, shift)));
    store(d, hn::Mul(e, hn::Set(d, factor)), y + i, n);
  }
};

void exp_scaled(const float* x, int64_t n, float shift, float factor, float* y) {
  for_vectors(n, ExpScaled{x, shift, factor, y});
}

template <bool kCapped>
struct ExpInPlace {
  float* x;
  float shift;
  float inverse_cap;
  Floats* sum;
  HWY_INLINE void operator()(int64_t i, int64_t n) const {
    const F32 d;
    const auto v = load(d, x + i, n);
    auto e = exp_of(d, hn::Sub(v, hn::Set(d, shift)));
    *sum = hn::Add(*sum, present(d, n, e));
    if constexpr (kCapped) {
      const auto part = hn::Mul(v, hn::Set(d, inverse_cap));
      e = hn::Mul(e, hn::NegMulAdd(part, part, hn::Set(d, 1.0F)));
    }
    store(d, e, x + i, n);
  }
};

float exp_in_place(float* x, int64_t n, float shift, float cap) {
  Floats sum = hn::Zero(F32());
  if (cap == 0)
    for_vectors(n, ExpInPlace<false>{x, shift, 0, &sum});
  else
    for_vectors(n, ExpInPlace<true>{x, shift, 1 / cap, &sum});
  return sum_lanes(sum);
}

struct Squares {
  const float* x;
  Floats* sum;
  HWY_INLINE void operator()(int64_t i, int64_t n) const {
    const F32 d;
    const auto v = load(d, x + i, n);  // absent ones are zero
    *sum = hn::MulAdd(v, v, *sum);
  }
};

// In parts that f32 adds up well.
double sum_of_squares(const float* x, int64_t n) {
  constexpr int64_t kPart = 512;
  double total = 0;
  for (int64_t i = 0; i < n; i += kPart) {
    Floats sum = hn::Zero(F32());
    for_vectors(std::min(kPart, n - i), Squares{x + i, &sum});
    total += static_cast<double>(sum_lanes(sum));
  }
  return total;
}

LossKernels loss_table() {
  return {largest, exp_sum, exp_scaled, exp_in_place, sum_of_squares};
}

}  // namespace
}  // namespace llmhost::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace llmhost::cpu {
HWY_EXPORT(loss_table);
LossKernels loss_kernels() {
  return HWY_DYNAMIC_DISPATCH(loss_table)();
}
}  // namespace llmhost::cpu
#endif
