// The integer dot product of 32 elements and what is made of it, for every instruction set.
#if defined(LLMHOST_CPU_PACKED_DOT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LLMHOST_CPU_PACKED_DOT_INL_H_
#undef LLMHOST_CPU_PACKED_DOT_INL_H_
#else
#define LLMHOST_CPU_PACKED_DOT_INL_H_
#endif

#include <algorithm>

#include "kernels/packed.h"
#include "kernels/packed_lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace llmhost::cpu::HWY_NAMESPACE {
namespace {

// The scales and minima of 32 elements.
template <int kHalves>
struct Scales {
  Floats scale[kHalves];
  Floats minimum[kHalves];
};

// What codes without their offset would have had less in a sum with x.
template <class Format>
HWY_INLINE Ints offset_sum(int32_t negative_sum) {
  return mul_ints(fill_ints(negative_sum), fill_ints(Format::kOffset));
}

#ifdef LLMHOST_PACKED_QUAD_DOT

template <class Format>
struct Codes {
  HWY_INLINE void set(Bytes codes) { value = codes; }
  Bytes value;
};

// The sum of kWords words' products, exact: begun with what the codes' offset is worth.
template <class Format, int kWords>
struct Dot {
  HWY_INLINE void start(const int32_t& negative_sum) {
    sum = Format::kOffset == 0 ? zero_ints() : offset_sum<Format>(negative_sum);
  }
  HWY_INLINE void add(int /*word*/, const Codes<Format>& codes, Bytes x) {
    sum = add_quad_dot(sum, codes.value, x);
  }
  HWY_INLINE Ints result() const { return sum; }
  Ints sum;
};

#else

// Codes above 63 would saturate the sums of two products: signed codes are multiplied by magnitude, x taking
// the sign.
template <class Format>
constexpr bool kIsWide = Format::kMaxCode > 63;

template <class Format>
struct Codes {
  HWY_INLINE void set(Bytes codes) {
    if constexpr (kIsWide<Format>) {
      static_assert(Format::kOffset == 128);
      sign = xor_bytes(codes, fill_bytes(0x80));
      value = magnitudes(sign);
    } else {
      value = codes;
    }
  }
  Bytes value;
  Bytes sign;
};

// The sum of kWords words' products, exact: as many are added in 16 bits as cannot saturate.
template <class Format, int kWords>
struct Dot {
  static constexpr int kChain = kIsWide<Format> ? 1 : std::min(kWords, 32767 / (2 * 127 * Format::kMaxCode));

  HWY_INLINE void start(const int32_t& negative_sum) { offset = &negative_sum; }
  HWY_INLINE void add(int word, const Codes<Format>& codes, Bytes x) {
    const Pairs more = pair_dot(codes.value, kIsWide<Format> ? copy_sign(x, codes.sign) : x);
    pairs = word % kChain == 0 ? more : add_pairs(pairs, more);
    if (word % kChain != kChain - 1 && word != kWords - 1) return;
    sum = word < kChain ? sum_pairs(pairs) : add_ints(sum, sum_pairs(pairs));
  }
  HWY_INLINE Ints result() const {
    if constexpr (kIsWide<Format> || Format::kOffset == 0) return sum;
    return add_ints(sum, offset_sum<Format>(*offset));
  }
  Pairs pairs;
  Ints sum;
  const int32_t* offset;
};

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
  HWY_INLINE void add_low(int step, const Codes<Format>& codes, Bytes x) {
    dots[0].add(kWords == 8 ? 2 * step : step, codes, x);
  }
  HWY_INLINE void add_high(int step, const Codes<Format>& codes, Bytes x) {
    dots[Format::kHalves - 1].add(kWords == 8 ? 2 * step + 1 : step, codes, x);
  }
  HWY_INLINE Floats add_to(Floats acc, const Scales<Format::kHalves>& s, const ActivationBlock& x) const {
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
  static constexpr int kWords = 8 / Format::kHalves;
  Dot<Format, kWords> dots[Format::kHalves];
};

}  // namespace
}  // namespace llmhost::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
