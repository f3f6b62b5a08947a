// Activations and their derivatives at a point.
#if defined(LLMHOST_CPU_SLOPES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LLMHOST_CPU_SLOPES_INL_H_
#undef LLMHOST_CPU_SLOPES_INL_H_
#else
#define LLMHOST_CPU_SLOPES_INL_H_
#endif

#include "kernels/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace llmhost::cpu::HWY_NAMESPACE {

struct Point {
  Floats value;
  Floats slope;
};

// x s(a x), with s the sigmoid: s (1 + a x (1 - s)).
HWY_INLINE Point sigmoid_product(F32 d, Floats x, Floats scaled) {
  const Floats one = hn::Set(d, 1.0F);
  const Floats s = sigmoid_of(d, scaled);
  return {hn::Mul(x, s), hn::Mul(s, hn::MulAdd(scaled, hn::Sub(one, s), one))};
}

struct SiluSlope {
  HWY_INLINE Point operator()(F32 d, Floats x) const { return sigmoid_product(d, x, x); }
};
struct GeluQuickSlope {
  HWY_INLINE Point operator()(F32 d, Floats x) const {
    return sigmoid_product(d, x, hn::Mul(hn::Set(d, 1.702F), x));
  }
};
// Phi(x) + x phi(x)
struct GeluSlope {
  HWY_INLINE Point operator()(F32 d, Floats x) const {
    const Floats half = hn::Set(d, 0.5F);
    const Floats erf = erf_of(d, hn::Mul(x, hn::Set(d, 0.70710678118654752F)));
    const Floats phi = hn::MulAdd(half, erf, half);
    const Floats density =
        hn::Mul(hn::Set(d, 0.3989422804014327F), exp_of(d, hn::Mul(hn::Mul(x, x), hn::Set(d, -0.5F))));
    return {hn::Mul(x, phi), hn::MulAdd(x, density, phi)};
  }
};
struct GeluTanhSlope {
  HWY_INLINE Point operator()(F32 d, Floats x) const {
    const Floats one = hn::Set(d, 1.0F);
    const Floats half = hn::Set(d, 0.5F);
    const Floats factor = hn::Set(d, 0.79788456080286536F);
    const Floats square = hn::Mul(x, x);
    const Floats inner = hn::Mul(hn::Mul(factor, x), hn::MulAdd(hn::Set(d, 0.044715F), square, one));
    const Floats t = tanh_of(d, inner);
    const Floats phi = hn::MulAdd(half, t, half);
    const Floats dinner = hn::Mul(factor, hn::MulAdd(hn::Set(d, 0.134145F), square, one));
    const Floats density = hn::Mul(hn::Mul(half, hn::NegMulAdd(t, t, one)), dinner);
    return {hn::Mul(x, phi), hn::MulAdd(x, density, phi)};
  }
};
// At 0 the derivative is 0.
struct ReluSlope {
  HWY_INLINE Point operator()(F32 d, Floats x) const {
    const auto above = hn::Gt(x, hn::Zero(d));
    return {keep_nan(x, hn::IfThenElseZero(above, x)), hn::IfThenElseZero(above, hn::Set(d, 1.0F))};
  }
};
struct ReluSquaredSlope {
  HWY_INLINE Point operator()(F32 d, Floats x) const {
    const Floats r = ReluSlope()(d, x).value;
    return {hn::Mul(r, r), hn::Add(r, r)};
  }
};
struct SigmoidSlope {
  HWY_INLINE Point operator()(F32 d, Floats x) const {
    const Floats s = sigmoid_of(d, x);
    return {s, hn::NegMulAdd(s, s, s)};
  }
};
struct TanhSlope {
  HWY_INLINE Point operator()(F32 d, Floats x) const {
    const Floats t = tanh_of(d, x);
    return {t, hn::NegMulAdd(t, t, hn::Set(d, 1.0F))};
  }
};

}  // namespace llmhost::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
