// Vector functions on f32. Stated errors are against the exact value, measured over all of the useful range
// by the tests: exp within 1.25 ulp; tanh, sigmoid, log within 4 ulp; erf within 2 ulp. A NaN stays a NaN.
#if defined(LLMHOST_CPU_MATH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LLMHOST_CPU_MATH_INL_H_
#undef LLMHOST_CPU_MATH_INL_H_
#else
#define LLMHOST_CPU_MATH_INL_H_
#endif

#include "hwy/contrib/math/math-inl.h"
#include "hwy/highway.h"
#include "kernels/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace llmhost::cpu::HWY_NAMESPACE {

// The library's functions map a NaN to some number; this keeps it visible.
HWY_INLINE Floats keep_nan(Floats x, Floats y) {
  return hn::IfThenElse(hn::IsNaN(x), x, y);
}

// x 2^n for a whole n of -150 to 129; rounds once.
HWY_INLINE Floats scale_by_power(F32 d, Floats x, Floats n) {
#if HWY_TARGET <= HWY_AVX3
  (void)d;
  return Floats{_mm512_scalef_ps(x.raw, n.raw)};
#else
  // In two steps, each of a normal number.
  const hn::Rebind<int32_t, F32> di;
  const auto bias = hn::Set(di, 127);
  const auto whole = hn::ConvertTo(di, n);
  const auto half = hn::ShiftRight<1>(whole);
  const Floats first = hn::BitCast(d, hn::ShiftLeft<23>(hn::Add(half, bias)));
  const Floats second = hn::BitCast(d, hn::ShiftLeft<23>(hn::Add(hn::Sub(whole, half), bias)));
  return hn::Mul(hn::Mul(x, first), second);
#endif
}

// 2^n e^r with r = x - n log(2), whose polynomial is a minimax fit of degree 6 (relative error 3e-9).
HWY_INLINE Floats exp_of(F32 d, Floats x) {
  // Beyond these the result is 0 or infinite whatever x is.
  const Floats limited = hn::Max(hn::Min(x, hn::Set(d, 89.0F)), hn::Set(d, -104.0F));
  const Floats shifter = hn::Set(d, 12582912.0F);  // 1.5 * 2^23: the sum's last bits are the nearest integer
  const Floats n = hn::Sub(hn::MulAdd(limited, hn::Set(d, 1.44269504088896341F), shifter), shifter);
  Floats r = hn::NegMulAdd(n, hn::Set(d, 0.693359375F), limited);
  r = hn::MulAdd(n, hn::Set(d, 2.12194440e-4F), r);
  Floats p = hn::Set(d, 0.0013814596459269524F);
  p = hn::MulAdd(p, r, hn::Set(d, 0.0083687175065279F));
  p = hn::MulAdd(p, r, hn::Set(d, 0.04166838899254799F));
  p = hn::MulAdd(p, r, hn::Set(d, 0.1666652113199234F));
  p = hn::MulAdd(p, r, hn::Set(d, 0.4999999403953552F));
  p = hn::MulAdd(p, r, hn::Set(d, 1.0F));
  p = hn::MulAdd(p, r, hn::Set(d, 1.0F));
  return keep_nan(x, scale_by_power(d, p, n));
}

HWY_INLINE Floats tanh_of(F32 d, Floats x) {
  const Floats limit = hn::Set(d, 10.0F);  // tanh is 1 in f32 from 9.01 on
  const Floats y = hn::Tanh(d, hn::Max(hn::Min(x, limit), hn::Neg(limit)));
  return keep_nan(x, y);
}

HWY_INLINE Floats sigmoid_of(F32 d, Floats x) {
  const Floats one = hn::Set(d, 1.0F);
  return hn::Div(one, hn::Add(one, exp_of(d, hn::Neg(x))));
}

// Two polynomials, fitted by weighted least squares: erf(x)/x - 1 in x^2 below 0.9277, log(erfc(x)) up
// to 3.95, where erf rounds to 1.
HWY_INLINE Floats erf_of(F32 d, Floats x) {
  const Floats t = hn::Min(hn::Abs(x), hn::Set(d, 3.95F));
  const Floats s = hn::Mul(x, x);
  Floats low = hn::Set(d, -0.0005987233016639948F);
  low = hn::MulAdd(low, s, hn::Set(d, 0.004992981441318989F));
  low = hn::MulAdd(low, s, hn::Set(d, -0.026766905561089516F));
  low = hn::MulAdd(low, s, hn::Set(d, 0.1128183901309967F));
  low = hn::MulAdd(low, s, hn::Set(d, -0.3761249780654907F));
  low = hn::MulAdd(low, s, hn::Set(d, 0.12837915122509003F));
  low = hn::MulAdd(low, x, x);
  Floats high = hn::Set(d, -2.119024247804191e-05F);
  high = hn::MulAdd(high, t, hn::Set(d, 0.00043556399759836495F));
  high = hn::MulAdd(high, t, hn::Set(d, -0.0041764043271541595F));
  high = hn::MulAdd(high, t, hn::Set(d, 0.02513350546360016F));
  high = hn::MulAdd(high, t, hn::Set(d, -0.10830188542604446F));
  high = hn::MulAdd(high, t, hn::Set(d, -0.633327066898346F));
  high = hn::MulAdd(high, t, hn::Set(d, -1.1295247077941895F));
  high = hn::MulAdd(high, t, hn::Set(d, 0.0001767305948305875F));
  high = hn::Sub(hn::Set(d, 1.0F), hn::Exp(d, high));
  const Floats y = hn::IfThenElse(hn::Lt(t, hn::Set(d, 0.9277F)), low, hn::CopySign(high, x));
  return keep_nan(x, y);
}

}  // namespace llmhost::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
