#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/norm.cpp"
#include <cmath>
#include <limits>

#include "hwy/foreach_target.h"  // must come before highway.h
#include "hwy/highway.h"
#include "kernels/kernels.h"
#include "kernels/math-inl.h"
#include "kernels/rows-inl.h"
#include "llmhost/op.h"

HWY_BEFORE_NAMESPACE();
namespace llmhost::cpu::HWY_NAMESPACE {
namespace {

struct Sum {
  const float* x;
  Floats* sum;
  HWY_INLINE void operator()(int64_t i, int64_t n) const {
    const F32 d;
    *sum = hn::Add(*sum, load(d, x + i, n));
  }
};

struct SquaredDeviation {
  const float* x;
  float mean;
  Floats* sum;
  HWY_INLINE void operator()(int64_t i, int64_t n) const {
    const F32 d;
    Floats v = hn::Sub(load(d, x + i, n), hn::Set(d, mean));
    v = hn::IfThenElseZero(hn::FirstN(d, static_cast<size_t>(n)), v);  // padding has no deviation
    *sum = hn::MulAdd(v, v, *sum);
  }
};

struct Normalise {
  const float* x;
  const float* w;
  const float* b;
  float mean;
  float inverse;
  float offset;
  float* y;
  HWY_INLINE void operator()(int64_t i, int64_t n) const {
    const F32 d;
    Floats v = hn::Mul(hn::Sub(load(d, x + i, n), hn::Set(d, mean)), hn::Set(d, inverse));
    if (w != nullptr) v = hn::Mul(v, hn::Add(load(d, w + i, n), hn::Set(d, offset)));
    if (b != nullptr) v = hn::Add(v, load(d, b + i, n));
    store(d, v, y + i, n);
  }
};

float squared_deviation(const float* x, float mean, int64_t n) {
  const F32 d;
  Floats sum = hn::Zero(d);
  for_vectors(n, SquaredDeviation{x, mean, &sum});
  return sum_lanes(sum);
}

float sum_of(const float* x, int64_t n) {
  const F32 d;
  Floats sum = hn::Zero(d);
  for_vectors(n, Sum{x, &sum});
  return sum_lanes(sum);
}

void rms(const float* x, const float* w, float eps, float offset, int64_t n, float* y) {
  const float mean_square = squared_deviation(x, 0.0F, n) / static_cast<float>(n);
  for_vectors(n, Normalise{x, w, nullptr, 0.0F, 1.0F / std::sqrt(mean_square + eps), offset, y});
}

void layer(const float* x, const float* w, const float* b, float eps, float offset, int64_t n, float* y) {
  const float mean = sum_of(x, n) / static_cast<float>(n);
  const float variance = squared_deviation(x, mean, n) / static_cast<float>(n);
  for_vectors(n, Normalise{x, w, b, mean, 1.0F / std::sqrt(variance + eps), offset, y});
}

// A NaN anywhere gives NaN, as in the host's reference.
float max_of(const float* x, int64_t n) {
  float result = -std::numeric_limits<float>::infinity();
  for (int64_t i = 0; i < n; ++i) {
    if (std::isnan(x[i])) return x[i];
    if (x[i] > result) result = x[i];
  }
  return result;
}

struct ExpShifted {
  const float* x;
  float shift;
  float* y;
  HWY_INLINE void operator()(int64_t i, int64_t n) const {
    const F32 d;
    store(d, exp_of(d, hn::Sub(load(d, x + i, n), hn::Set(d, shift))), y + i, n);
  }
};

struct DivideBy {
  float divisor;
  float* y;
  HWY_INLINE void operator()(int64_t i, int64_t n) const {
    const F32 d;
    store(d, hn::Div(load(d, y + i, n), hn::Set(d, divisor)), y + i, n);
  }
};

void softmax(const float* x, int64_t n, float* y) {
  const float highest = max_of(x, n);
  if (highest == -std::numeric_limits<float>::infinity()) {
    for (int64_t i = 0; i < n; ++i) y[i] = 0.0F;
    return;
  }
  for_vectors(n, ExpShifted{x, highest, y});
  for_vectors(n, DivideBy{sum_of(y, n), y});
}

float reduce(int32_t kind, const float* x, int64_t n) {
  if (kind == LLMH_REDUCE_MAX) return max_of(x, n);
  const float sum = sum_of(x, n);
  return kind == LLMH_REDUCE_MEAN ? sum / static_cast<float>(n) : sum;
}

NormKernels norm_table() {
  return {rms, layer, softmax, reduce};
}

}  // namespace
}  // namespace llmhost::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace llmhost::cpu {
HWY_EXPORT(norm_table);
NormKernels norm_kernels() {
  return HWY_DYNAMIC_DISPATCH(norm_table)();
}
}  // namespace llmhost::cpu
#endif
