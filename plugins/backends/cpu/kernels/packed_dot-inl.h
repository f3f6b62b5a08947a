// The integer dot product of 32 elements and what is made of it, for every instruction set.
#if defined(LLMHOST_CPU_PACKED_DOT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LLMHOST_CPU_PACKED_DOT_INL_H_
#undef LLMHOST_CPU_PACKED_DOT_INL_H_
#else
#define LLMHOST_CPU_PACKED_DOT_INL_H_
#endif

#include "kernels/packed.h"
#include "kernels/packed_lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace llmhost::cpu::HWY_NAMESPACE {
namespace {

// The scales and minima of 32 elements.
template <class Format>
struct Scales {
  Floats scale[Format::kHalves];
  Floats minimum[Format::kHalves];
};

#ifdef LLMHOST_PACKED_QUAD_DOT

template <class Format>
struct Codes {
  HWY_INLINE void set(Bytes codes) { value = codes; }
  Bytes value;
};

// The sum over four steps of one word each; codes lose their offset through the start.
template <class Format>
struct Dot {
  HWY_INLINE void start(int32_t negative_sum) {
    sum = Format::kOffset == 0 ? zero_ints() : mul_ints(fill_ints(negative_sum), fill_ints(Format::kOffset));
  }
  HWY_INLINE void add(int /*step*/, const Codes<Format>& codes, Bytes x) {
    sum = add_quad_dot(sum, codes.value, x);
  }
  HWY_INLINE Ints result() const { return sum; }
  Ints sum;
};

#else
#error "not yet"
#endif

// 32 elements of one output: with one scale both halves add to dots[0].
template <class Format>
struct BlockDot {
  HWY_INLINE void start(const ActivationBlock& x) {
    if constexpr (Format::kHalves == 1) {
      dots[0].start(x.negative_sum);
    } else {
      dots[0].start(x.negative_half_sums[0]);
      dots[1].start(x.negative_half_sums[1]);
    }
  }
  HWY_INLINE void add_low(int step, const Codes<Format>& codes, Bytes x) { dots[0].add(step, codes, x); }
  HWY_INLINE void add_high(int step, const Codes<Format>& codes, Bytes x) {
    dots[Format::kHalves - 1].add(Format::kHalves == 1 ? 4 + step : step, codes, x);
  }
  HWY_INLINE Floats add_to(Floats acc, const Scales<Format>& s, const ActivationBlock& x) const {
    const Floats x_scale = fill_floats(x.scale);
    if constexpr (Format::kHalves == 1) {
      acc = mul_add(to_floats(dots[0].result()), mul_floats(s.scale[0], x_scale), acc);
      if constexpr (Format::kMinima) acc = mul_add(s.minimum[0], fill_floats(x.scaled_sum), acc);
    } else {
      Floats sum = mul_floats(to_floats(dots[0].result()), s.scale[0]);
      sum = mul_add(to_floats(dots[1].result()), s.scale[1], sum);
      acc = mul_add(sum, x_scale, acc);
      if constexpr (Format::kMinima) {
        acc = mul_add(s.minimum[0], fill_floats(x.scaled_half_sums[0]), acc);
        acc = mul_add(s.minimum[1], fill_floats(x.scaled_half_sums[1]), acc);
      }
    }
    return acc;
  }
  Dot<Format> dots[Format::kHalves];
};

}  // namespace
}  // namespace llmhost::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
