#define HWY_WANT_AVX3_DL
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/packed.cpp"
#include "kernels/packed.h"

#include <algorithm>
#include <bit>
#include <limits>

#include "hwy/foreach_target.h"  // must come before highway.h
#include "hwy/highway.h"
#include "kernels/packed_tables.h"

HWY_BEFORE_NAMESPACE();
namespace llmhost::cpu::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

constexpr int32_t kInfinity = 0x7F800000;
constexpr int32_t kSmallest = (127 - 100) << 23;  // 2^-100

#if HWY_TARGET == HWY_SCALAR

// Bits of the greatest magnitude; those of a NaN are above infinity's.
HWY_INLINE int32_t greatest_magnitude(const float* x) {
  int32_t greatest = 0;
  for (int i = 0; i < kActivationBlock; ++i)
    greatest = std::max(greatest, std::bit_cast<int32_t>(x[i]) & 0x7FFFFFFF);
  return greatest;
}

// Writes integers for 16 elements and returns their sum.
HWY_INLINE int32_t round_half(const float* x, float inverse, int8_t* q) {
  constexpr float kShift = 12582912.0F;  // 1.5 * 2^23: the last bit of a sum with it is worth 1
  int32_t sum = 0;
  for (int i = 0; i < kActivationBlock / 2; ++i) {
    const int32_t value = std::bit_cast<int32_t>(x[i] * inverse + kShift) - std::bit_cast<int32_t>(kShift);
    q[i] = static_cast<int8_t>(value);
    sum += value;
  }
  return sum;
}

#else

using QuantTag = hn::CappedTag<float, kActivationBlock / 2>;

// Bits of the greatest magnitude; those of a NaN are above infinity's.
HWY_INLINE int32_t greatest_magnitude(const float* x) {
  const hn::RebindToSigned<QuantTag> d;
  const auto mask = hn::Set(d, 0x7FFFFFFF);
  auto greatest = hn::Zero(d);
  for (size_t i = 0; i < kActivationBlock; i += hn::Lanes(d))
    greatest = hn::Max(greatest, hn::And(hn::BitCast(d, hn::LoadU(QuantTag(), x + i)), mask));
  return hn::GetLane(hn::MaxOfLanes(d, greatest));
}

// Writes integers for 16 elements and returns their sum.
HWY_INLINE int32_t round_half(const float* x, float inverse, int8_t* q) {
  const QuantTag d;
  const hn::RebindToSigned<QuantTag> di;
  const hn::Rebind<int8_t, QuantTag> d8;
  auto sum = hn::Zero(di);
  for (size_t i = 0; i < kActivationBlock / 2; i += hn::Lanes(d)) {
    const auto value = hn::NearestInt(hn::Mul(hn::LoadU(d, x + i), hn::Set(d, inverse)));
    hn::StoreU(hn::DemoteTo(d8, value), d8, q + i);
    sum = hn::Add(sum, value);
  }
  return hn::GetLane(hn::SumOfLanes(di, sum));
}

#endif

HWY_INLINE void quantise_block(const float* x, ActivationBlock& block) {
  const int32_t magnitude = greatest_magnitude(x);
  if (magnitude < kSmallest || magnitude >= kInfinity) {
    block = {};
    if (magnitude < kSmallest) return;
    constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
    block.scale = block.scaled_sum = block.scaled_half_sums[0] = block.scaled_half_sums[1] = kNan;
    return;
  }
  const auto greatest = std::bit_cast<float>(magnitude);
  const float inverse = 127.0F / greatest;
  const int32_t first = round_half(x, inverse, block.q);
  const int32_t second = round_half(x + 16, inverse, block.q + 16);
  block.scale = greatest / 127.0F;
  block.scaled_sum = block.scale * static_cast<float>(first + second);
  block.scaled_half_sums[0] = block.scale * static_cast<float>(first);
  block.scaled_half_sums[1] = block.scale * static_cast<float>(second);
  block.negative_sum = -(first + second);
  block.negative_half_sums[0] = -first;
  block.negative_half_sums[1] = -second;
  block.unused = 0;
}

}  // namespace
}  // namespace llmhost::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX3_DL
#include "kernels/packed_quantise512-inl.h"
#define LLMHOST_PACKED_QUANTISE_FOUR
#else
#undef LLMHOST_PACKED_QUANTISE_FOUR
#endif

HWY_BEFORE_NAMESPACE();
namespace llmhost::cpu::HWY_NAMESPACE {
namespace {

void quantise(const float* x, int64_t depth, uint8_t* row) {
  auto* blocks = reinterpret_cast<ActivationBlock*>(row);
  const int64_t n = depth / kActivationBlock;
  int64_t i = 0;
#ifdef LLMHOST_PACKED_QUANTISE_FOUR
  for (; i + 4 <= n; i += 4)
    if (!quantise_four(x + i * kActivationBlock, blocks + i))
      for (int64_t k = i; k < i + 4; ++k) quantise_block(x + k * kActivationBlock, blocks[k]);
#endif
  for (; i < n; ++i) quantise_block(x + i * kActivationBlock, blocks[i]);
}

auto quantise_function() {
  return &quantise;
}

}  // namespace
}  // namespace llmhost::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace llmhost::cpu {
HWY_EXPORT(quantise_function);

PackedKernels packed_kernels() {
  PackedKernels table;
  add_packed_basic(table);
  add_packed_five(table);
  add_packed_k(table);
  add_packed_small_k(table);
  add_packed_table(table);
  table.quantise = HWY_DYNAMIC_DISPATCH(quantise_function)();
  return table;
}
}  // namespace llmhost::cpu
#endif
