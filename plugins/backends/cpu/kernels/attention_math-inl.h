// Powers of two for weights of a softmax.
#if defined(LLMHOST_CPU_ATTENTION_MATH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LLMHOST_CPU_ATTENTION_MATH_INL_H_
#undef LLMHOST_CPU_ATTENTION_MATH_INL_H_
#else
#define LLMHOST_CPU_ATTENTION_MATH_INL_H_
#endif

#include "hwy/highway.h"
#include "kernels/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace llmhost::cpu::HWY_NAMESPACE {

// 2^x for x <= 0 within 2 ulp, 1 at 0; 0 below -126, also for -inf; a NaN stays one. The polynomial is a
// weighted least squares fit of 2^f over [-1/2, 1/2] through 1.
HWY_INLINE Floats weight_of(F32 d, Floats x) {
  const hn::Rebind<int32_t, F32> di;
  // 1.5 * 2^23 + 127: the sum's last bits are the nearest integer, biased as an exponent is.
  const Floats shifter = hn::Set(d, 12583039.0F);
  const Floats shifted = hn::Add(x, shifter);
  const Floats f = hn::Sub(x, hn::Sub(shifted, shifter));
  Floats p = hn::Set(d, 0.0013264715671539307F);
  p = hn::MulAdd(p, f, hn::Set(d, 0.009671513922512531F));
  p = hn::MulAdd(p, f, hn::Set(d, 0.05550733953714371F));
  p = hn::MulAdd(p, f, hn::Set(d, 0.24022242426872253F));
  p = hn::MulAdd(p, f, hn::Set(d, 0.6931470036506653F));
  p = hn::MulAdd(p, f, hn::Set(d, 1.0F));
  const Floats power = hn::BitCast(d, hn::ShiftLeft<23>(hn::BitCast(di, shifted)));
  // The comparison is false for a NaN, which the product has kept.
  return hn::IfThenZeroElse(hn::Lt(x, hn::Set(d, -126.0F)), hn::Mul(p, power));
}

HWY_INLINE float weight_of(float x) {
  const F32 d;
  return hn::GetLane(weight_of(d, hn::Set(d, x)));
}

}  // namespace llmhost::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
