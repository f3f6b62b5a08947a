// What a register tile of dense weights is made of: elements converted in registers, multiplied and added,
// and the tree that sums up an accumulator.
#if defined(LLMHOST_CPU_DENSE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LLMHOST_CPU_DENSE_INL_H_
#undef LLMHOST_CPU_DENSE_INL_H_
#else
#define LLMHOST_CPU_DENSE_INL_H_
#endif

#include <algorithm>
#include <cstring>

#include "hwy/highway.h"
#include "kernels/half.h"
#include "kernels/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace llmhost::cpu::HWY_NAMESPACE {
namespace {

constexpr int kLanes = static_cast<int>(hn::MaxLanes(F32()));
constexpr int kQuad = 4;  // accumulators that are summed up together

// --- Elements as stored: a vector of them from any address

template <class D>
HWY_INLINE hn::Vec<D> load_any(D d, const uint8_t* p) {
#if HWY_TARGET == HWY_SCALAR
  hn::TFromD<D> value;
  std::memcpy(&value, p, sizeof value);
  return hn::Set(d, value);
#else
  const hn::Repartition<uint8_t, D> bytes;
  return hn::BitCast(d, hn::LoadU(bytes, p));
#endif
}

struct StoredF32 {
  static constexpr int kBytes = 4;
  static HWY_INLINE Floats load(const uint8_t* p) { return load_any(F32(), p); }
};

struct StoredBf16 {
  static constexpr int kBytes = 2;
  static HWY_INLINE Floats load(const uint8_t* p) {
    const hn::Rebind<uint32_t, F32> wide;
    const hn::Rebind<uint16_t, F32> narrow;
    return hn::BitCast(F32(), hn::ShiftLeft<16>(hn::PromoteTo(wide, load_any(narrow, p))));
  }
};

struct StoredF16 {
  static constexpr int kBytes = 2;
  static HWY_INLINE Floats load(const uint8_t* p) {
    const F32 d;
#if HWY_TARGET <= HWY_AVX2 || HWY_ARCH_ARM_A64
    const hn::Rebind<hwy::float16_t, F32> halves;
    const hn::Rebind<uint16_t, F32> narrow;
    return hn::PromoteTo(d, hn::BitCast(halves, load_any(narrow, p)));
#elif HWY_TARGET == HWY_SCALAR
    return hn::Set(d, load_f16(p));
#else
    // The steps of f16_to_f32; the library's own loses infinities here.
    const hn::Rebind<uint32_t, F32> wide;
    const hn::Rebind<int32_t, F32> whole;
    const auto bits = hn::PromoteTo(wide, load_any(hn::Rebind<uint16_t, F32>(), p));
    const auto sign = hn::ShiftLeft<16>(hn::And(bits, hn::Set(wide, 0x8000U)));
    const auto magnitude = hn::And(bits, hn::Set(wide, 0x7FFFU));
    const auto fraction = hn::ConvertTo(d, hn::BitCast(whole, hn::And(bits, hn::Set(wide, 0x3FFU))));
    const auto small = hn::BitCast(wide, hn::Mul(fraction, hn::Set(d, 0x1p-24F)));
    const auto above = [&](int32_t bound) HWY_ATTR {  // all ones where the magnitude is
      return hn::BitCast(
          wide, hn::VecFromMask(whole, hn::Gt(hn::BitCast(whole, magnitude), hn::Set(whole, bound))));
    };
    const auto rebias = hn::Set(wide, 112U << 23);
    const auto special = hn::And(above(0x7BFF), rebias);
    const auto normal = hn::Add(hn::Add(hn::ShiftLeft<13>(magnitude), rebias), special);
    const auto is_normal = above(0x3FF);
    return hn::BitCast(d, hn::Or(sign, hn::Or(hn::And(is_normal, normal), hn::AndNot(is_normal, small))));
#endif
  }
};

// --- Products: a vector of weights and one of x, added to an accumulator

// f32 x, weights converted to f32.
template <class Stored>
struct WithF32 {
  static constexpr int kStep = kLanes;
  static constexpr int kXBytes = 4;
  static constexpr int kWBytes = Stored::kBytes;
  using Value = Floats;
  static HWY_INLINE Value load_x(const uint8_t* p) { return StoredF32::load(p); }
  static HWY_INLINE Value load_w(const uint8_t* p) { return Stored::load(p); }
  static HWY_INLINE void add(Floats& sum, Value x, Value w) { sum = hn::MulAdd(x, w, sum); }
};

#if HWY_TARGET == HWY_AVX3
// Pairs of bf16 of both. No target of the library has this instruction, nor may a function of one call into
// another's, so it is named here; the caller knows that the CPU has it.
struct WithBf16 {
  static constexpr int kStep = 2 * kLanes;
  static constexpr int kXBytes = 2;
  static constexpr int kWBytes = 2;
  using Pairs = hn::Repartition<uint32_t, F32>;
  using Value = hn::Vec<Pairs>;
  static HWY_INLINE Value load_x(const uint8_t* p) { return load_any(Pairs(), p); }
  static HWY_INLINE Value load_w(const uint8_t* p) { return load_any(Pairs(), p); }
  static HWY_INLINE void add(Floats& sum, Value x, Value w) {
    auto raw = sum.raw;  // an operand that is part of an array would keep it out of registers
    asm("vdpbf16ps %2, %1, %0" : "+v"(raw) : "v"(x.raw), "v"(w.raw));
    sum.raw = raw;
  }
};
#endif

// The first n elements and zeros, as `load` would give them.
template <int kStep, int kBytes>
struct Padded {
  uint8_t bytes[kStep * kBytes] = {};
  HWY_INLINE Padded(const uint8_t* p, int64_t n) { std::memcpy(bytes, p, static_cast<size_t>(n * kBytes)); }
};

// --- The tree: within a block of 128 bits (0 + 2) + (1 + 3), then over the blocks

#if HWY_TARGET == HWY_SCALAR

template <int kQuads>
HWY_INLINE void sum_quads(const Floats (*sum)[kQuad], float* out) {
  for (int i = 0; i < kQuads; ++i)
    for (int r = 0; r < kQuad; ++r) out[i * kQuad + r] = hn::GetLane(sum[i][r]);
}

#else

constexpr int kBlocks = kLanes / 4;

// Each block holds that block's sum of the four vectors.
HWY_INLINE Floats sum_within(const Floats* of) {
  const F32 d;
  const hn::Repartition<double, F32> pairs;
  const auto ab = hn::Add(hn::InterleaveLower(d, of[0], of[1]), hn::InterleaveUpper(d, of[0], of[1]));
  const auto ce = hn::Add(hn::InterleaveLower(d, of[2], of[3]), hn::InterleaveUpper(d, of[2], of[3]));
  const auto low = hn::InterleaveLower(pairs, hn::BitCast(pairs, ab), hn::BitCast(pairs, ce));
  const auto high = hn::InterleaveUpper(pairs, hn::BitCast(pairs, ab), hn::BitCast(pairs, ce));
  return hn::Add(hn::BitCast(d, low), hn::BitCast(d, high));
}

// Of kBlocks results of sum_within, the four sums of each, one after another.
HWY_INLINE Floats sum_blocks(const Floats* of) {
#if HWY_TARGET == HWY_AVX3
  const F32 d;
  const auto halves = [&](Floats a, Floats b) HWY_ATTR {
    return hn::Add(hn::ConcatLowerLower(d, b, a), hn::ConcatUpperUpper(d, b, a));
  };
  const auto ac = halves(of[0], of[2]);  // blocks a0+a2 a1+a3 c0+c2 c1+c3
  const auto be = halves(of[1], of[3]);
  const auto straight = hn::OddEvenBlocks(be, ac);
  const auto crossed = hn::SwapAdjacentBlocks(hn::OddEvenBlocks(ac, be));
  return hn::Add(straight, crossed);
#elif HWY_TARGET == HWY_AVX2
  const F32 d;
  return hn::Add(hn::ConcatLowerLower(d, of[1], of[0]), hn::ConcatUpperUpper(d, of[1], of[0]));
#else
  return of[0];
#endif
}

// Sums of kQuads times four accumulators; `out` has room for whole vectors.
template <int kQuads>
HWY_INLINE void sum_quads(const Floats (*sum)[kQuad], float* out) {
  for (int i = 0; i < kQuads; i += kBlocks) {
    Floats within[kBlocks];
    for (int b = 0; b < kBlocks; ++b) within[b] = sum_within(sum[std::min(i + b, kQuads - 1)]);
    hn::StoreU(sum_blocks(within), F32(), out + i * kQuad);
  }
}

#endif

}  // namespace
}  // namespace llmhost::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
