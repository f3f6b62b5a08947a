#define HWY_WANT_AVX3_DL
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/packed.cpp"
#include "kernels/packed.h"

#include <bit>
#include <cmath>
#include <limits>

#include "hwy/foreach_target.h"  // must come before highway.h
#include "hwy/highway.h"
#include "kernels/packed_tables.h"

HWY_BEFORE_NAMESPACE();
namespace llmhost::cpu::HWY_NAMESPACE {
namespace {

constexpr uint32_t kInfinity = 0x7F800000U;
constexpr uint32_t kSmallest = (127U - 100U) << 23;  // 2^-100

HWY_INLINE uint32_t greatest_magnitude(const float* x) {
  uint32_t greatest = 0;
  for (int i = 0; i < kActivationBlock; ++i) {
    const uint32_t bits = std::bit_cast<uint32_t>(x[i]) & 0x7FFFFFFFU;
    greatest = bits > greatest ? bits : greatest;
  }
  return greatest;
}

// Rounds to nearest even: in the sum the last bit of the mantissa is worth 1.
HWY_INLINE int32_t round_to_int(float x) {
  constexpr float kShift = 12582912.0F;  // 1.5 * 2^23
  return static_cast<int32_t>(std::bit_cast<uint32_t>(x + kShift) - std::bit_cast<uint32_t>(kShift));
}

HWY_INLINE void quantise_block(const float* x, ActivationBlock& block) {
  const uint32_t magnitude = greatest_magnitude(x);
  float inverse = 0.0F;
  block.scale = 0.0F;
  if (magnitude >= kInfinity) {
    block.scale = std::numeric_limits<float>::quiet_NaN();
  } else if (magnitude >= kSmallest) {
    block.scale = std::bit_cast<float>(magnitude) / 127.0F;
    inverse = 127.0F / std::bit_cast<float>(magnitude);
  }
  int32_t sums[2] = {0, 0};
  for (int i = 0; i < kActivationBlock; ++i) {
    const int32_t q = inverse == 0.0F ? 0 : round_to_int(x[i] * inverse);
    block.q[i] = static_cast<int8_t>(q);
    sums[i / 16] += q;
  }
  block.negative_half_sums[0] = -sums[0];
  block.negative_half_sums[1] = -sums[1];
  block.negative_sum = -(sums[0] + sums[1]);
  block.scaled_sum = block.scale * static_cast<float>(sums[0] + sums[1]);
  block.scaled_half_sums[0] = block.scale * static_cast<float>(sums[0]);
  block.scaled_half_sums[1] = block.scale * static_cast<float>(sums[1]);
  block.unused = 0;
}

void quantise(const float* x, int64_t depth, uint8_t* row) {
  auto* blocks = reinterpret_cast<ActivationBlock*>(row);
  for (int64_t k = 0; k < depth; k += kActivationBlock) quantise_block(x + k, blocks[k / kActivationBlock]);
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
  table.quantise = HWY_DYNAMIC_DISPATCH(quantise_function)();
  return table;
}
}  // namespace llmhost::cpu
#endif
