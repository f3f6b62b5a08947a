#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/gradients.cpp"
#include "kernels/gradients.h"

#include <cmath>

#include "hwy/foreach_target.h"  // must come before highway.h
#include "hwy/highway.h"
#include "kernels/dropout-inl.h"
#include "kernels/math-inl.h"
#include "kernels/rows-inl.h"
#include "kernels/slopes-inl.h"
#include "llmhost/op.h"

HWY_BEFORE_NAMESPACE();
namespace llmhost::cpu::HWY_NAMESPACE {
namespace {

// --- Norms

struct Moments {
  float mean;
  float inverse;  // of the deviation
};

struct SumOf {
  const float* x;
  Floats* sum;
  HWY_INLINE void operator()(int64_t i, int64_t n) const {
    const F32 d;
    *sum = hn::Add(*sum, load(d, x + i, n));
  }
};

struct SquaresOf {
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

float mean_of(const float* x, int64_t n) {
  const F32 d;
  Floats sum = hn::Zero(d);
  for_vectors(n, SumOf{x, &sum});
  return sum_lanes(sum) / static_cast<float>(n);
}

Moments moments_of(const float* x, float mean, float eps, int64_t n) {
  const F32 d;
  Floats sum = hn::Zero(d);
  for_vectors(n, SquaresOf{x, mean, &sum});
  return {mean, 1.0F / std::sqrt(sum_lanes(sum) / static_cast<float>(n) + eps)};
}

// A row's normalised elements and what reaches them through the weight.
struct NormRow {
  const float* x;
  const float* w;
  const float* dy;
  float offset;
  Moments moments;

  HWY_INLINE Floats normal(F32 d, int64_t i, int64_t n) const {
    const Floats v = hn::Sub(load(d, x + i, n), hn::Set(d, moments.mean));
    return hn::Mul(v, hn::Set(d, moments.inverse));
  }
  HWY_INLINE Floats reached(F32 d, int64_t i, int64_t n) const {
    const Floats g = load(d, dy + i, n);
    return w == nullptr ? g : hn::Mul(g, hn::Add(load(d, w + i, n), hn::Set(d, offset)));
  }
};

// Padded elements of dy are 0: they add nothing.
struct NormSums {
  NormRow row;
  Floats* all;
  Floats* with_normal;
  HWY_INLINE void operator()(int64_t i, int64_t n) const {
    const F32 d;
    const Floats g = row.reached(d, i, n);
    *all = hn::Add(*all, g);
    *with_normal = hn::MulAdd(g, row.normal(d, i, n), *with_normal);
  }
};

struct NormGrad {
  NormRow row;
  float mean;         // of what reaches; 0 where the mean was not taken off
  float with_normal;  // mean of its product with the normalised row
  float* dx;
  HWY_INLINE void operator()(int64_t i, int64_t n) const {
    const F32 d;
    Floats g = hn::Sub(row.reached(d, i, n), hn::Set(d, mean));
    g = hn::NegMulAdd(row.normal(d, i, n), hn::Set(d, with_normal), g);
    store(d, hn::Mul(g, hn::Set(d, row.moments.inverse)), dx + i, n);
  }
};

HWY_INLINE void norm_grad(const NormRow& row, bool has_mean, int64_t n, float* dx) {
  const F32 d;
  Floats all = hn::Zero(d);
  Floats with_normal = hn::Zero(d);
  for_vectors(n, NormSums{row, &all, &with_normal});
  const auto count = static_cast<float>(n);
  const float mean = has_mean ? sum_lanes(all) / count : 0.0F;
  for_vectors(n, NormGrad{row, mean, sum_lanes(with_normal) / count, dx});
}

void rms(const float* x, const float* w, const float* dy, float eps, float offset, int64_t n, float* dx) {
  norm_grad({x, w, dy, offset, moments_of(x, 0.0F, eps, n)}, false, n, dx);
}

void layer(const float* x, const float* w, const float* dy, float eps, float offset, int64_t n, float* dx) {
  norm_grad({x, w, dy, offset, moments_of(x, mean_of(x, n), eps, n)}, true, n, dx);
}

struct WeightGrad {
  NormRow row;
  float* sums;
  HWY_INLINE void operator()(int64_t i, int64_t n) const {
    const F32 d;
    const Floats g = load(d, row.dy + i, n);
    store(d, hn::MulAdd(g, row.normal(d, i, n), load(d, sums + i, n)), sums + i, n);
  }
};

void rms_weight(const float* x, const float* dy, float eps, int64_t n, float* sums) {
  for_vectors(n, WeightGrad{{x, nullptr, dy, 0.0F, moments_of(x, 0.0F, eps, n)}, sums});
}

void layer_weight(const float* x, const float* dy, float eps, int64_t n, float* sums) {
  for_vectors(n, WeightGrad{{x, nullptr, dy, 0.0F, moments_of(x, mean_of(x, n), eps, n)}, sums});
}

// --- Softmax

struct ProductSum {
  const float* a;
  const float* b;
  Floats* sum;
  HWY_INLINE void operator()(int64_t i, int64_t n) const {
    const F32 d;
    *sum = hn::MulAdd(load(d, a + i, n), load(d, b + i, n), *sum);
  }
};

struct SoftmaxGrad {
  const float* y;
  const float* dy;
  float sum;
  float* dx;
  HWY_INLINE void operator()(int64_t i, int64_t n) const {
    const F32 d;
    const Floats g = hn::Sub(load(d, dy + i, n), hn::Set(d, sum));
    store(d, hn::Mul(load(d, y + i, n), g), dx + i, n);
  }
};

void softmax(const float* y, const float* dy, int64_t n, float* dx) {
  const F32 d;
  Floats sum = hn::Zero(d);
  for_vectors(n, ProductSum{y, dy, &sum});
  for_vectors(n, SoftmaxGrad{y, dy, sum_lanes(sum), dx});
}

// --- Activations

template <typename Slope>
struct ActivationGrad {
  const float* x;
  const float* dy;
  float* dx;
  HWY_INLINE void operator()(int64_t i, int64_t n) const {
    const F32 d;
    store(d, hn::Mul(load(d, dy + i, n), Slope()(d, load(d, x + i, n)).slope), dx + i, n);
  }
};

template <typename Slope>
struct GatedGrad {
  const float* gate;
  const float* up;
  const float* dy;
  float* dgate;
  float* dup;
  HWY_INLINE void operator()(int64_t i, int64_t n) const {
    const F32 d;
    const Floats g = load(d, dy + i, n);
    const Point point = Slope()(d, load(d, gate + i, n));
    store(d, hn::Mul(hn::Mul(g, load(d, up + i, n)), point.slope), dgate + i, n);
    store(d, hn::Mul(g, point.value), dup + i, n);
  }
};

// Calls body.operator()<Slope>() for the kind.
template <typename Body>
HWY_INLINE void with_slope(int32_t kind, const Body& body) {
  switch (kind) {
    case LLMH_ACT_SILU:
      return body.template operator()<SiluSlope>();
    case LLMH_ACT_GELU:
      return body.template operator()<GeluSlope>();
    case LLMH_ACT_GELU_TANH:
      return body.template operator()<GeluTanhSlope>();
    case LLMH_ACT_RELU:
      return body.template operator()<ReluSlope>();
    case LLMH_ACT_RELU_SQUARED:
      return body.template operator()<ReluSquaredSlope>();
    case LLMH_ACT_SIGMOID:
      return body.template operator()<SigmoidSlope>();
    case LLMH_ACT_TANH:
      return body.template operator()<TanhSlope>();
    case LLMH_ACT_GELU_QUICK:
      return body.template operator()<GeluQuickSlope>();
    default:
      return;
  }
}

void activation(int32_t kind, const float* x, const float* dy, int64_t n, float* dx) {
  with_slope(kind, [&]<typename Slope>() { for_vectors(n, ActivationGrad<Slope>{x, dy, dx}); });
}

void gated(int32_t kind, const float* gate, const float* up, const float* dy, int64_t n, float* dgate,
           float* dup) {
  with_slope(kind, [&]<typename Slope>() { for_vectors(n, GatedGrad<Slope>{gate, up, dy, dgate, dup}); });
}

GradientKernels gradient_table() {
  return {rms, layer, rms_weight, layer_weight, softmax, activation, gated, dropout};
}

}  // namespace
}  // namespace llmhost::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace llmhost::cpu {
HWY_EXPORT(gradient_table);
GradientKernels gradient_kernels() {
  return HWY_DYNAMIC_DISPATCH(gradient_table)();
}
}  // namespace llmhost::cpu
#endif
