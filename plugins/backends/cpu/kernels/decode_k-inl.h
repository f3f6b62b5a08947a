// Decoders of the 256-element blocks q2_k to q6_k. Exact to the bit.
#if defined(LLMHOST_CPU_DECODE_K_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LLMHOST_CPU_DECODE_K_INL_H_
#undef LLMHOST_CPU_DECODE_K_INL_H_
#else
#define LLMHOST_CPU_DECODE_K_INL_H_
#endif

#include "kernels/decode_block-inl.h"

HWY_BEFORE_NAMESPACE();
namespace llmhost::cpu::HWY_NAMESPACE {
namespace {

// Two bits of each of 256 elements: 32 bytes hold 128 of them, four planes of 32.
HWY_INLINE void unpack_two_bits(const uint8_t* HWY_RESTRICT packed, int8_t* HWY_RESTRICT q) {
  for (int group = 0; group < 8; ++group)
    for (int i = 0; i < 32; ++i)
      q[group * 32 + i] = static_cast<int8_t>((packed[group / 4 * 32 + i] >> (group % 4 * 2)) & 3);
}

// Four bits of each of 256 elements: 32 bytes hold 64 of them, two planes of 32.
HWY_INLINE void unpack_four_bits(const uint8_t* HWY_RESTRICT packed, int8_t* HWY_RESTRICT q) {
  for (int group = 0; group < 8; ++group)
    for (int i = 0; i < 32; ++i)
      q[group * 32 + i] = static_cast<int8_t>((packed[group / 2 * 32 + i] >> (group % 2 * 4)) & 0x0F);
}

// One bit of each of 256 elements: bit `group` of byte i is element group * 32 + i. Adds bit * weight - bias.
HWY_INLINE void add_bits(const uint8_t* HWY_RESTRICT bits, int weight, int bias, int8_t* HWY_RESTRICT q) {
  for (int group = 0; group < 8; ++group)
    for (int i = 0; i < 32; ++i)
      q[group * 32 + i] = static_cast<int8_t>(q[group * 32 + i] + ((bits[i] >> group) & 1) * weight - bias);
}

HWY_INLINE void block_q2_k(const uint8_t* block, float* out) {
  int8_t q[256];
  unpack_two_bits(block + 16, q);
  const float d = load_scale(block + 80);
  const float dmin = load_scale(block + 82);
  for (int j = 0; j < 16; ++j) {
    const float scale = d * static_cast<float>(block[j] & 0x0F);
    const float minimum = dmin * static_cast<float>(block[j] >> 4);
    scale_run<16>(q + 16 * j, scale, -minimum, out + 16 * j);
  }
}

// Sixteen 6-bit scales in 12 bytes: low nibbles in the first eight, upper two bits in the last four.
HWY_INLINE int q3_k_scale(const uint8_t* scales, int j) {
  const int low = (scales[j % 8] >> (j / 8 * 4)) & 0x0F;
  const int high = (scales[8 + j % 4] >> (j / 4 * 2)) & 3;
  return (low | high << 4) - 32;
}

HWY_INLINE void block_q3_k(const uint8_t* block, float* out) {
  int8_t q[256];
  unpack_two_bits(block + 32, q);
  add_bits(block, 4, 4, q);
  const float d = load_scale(block + 108);
  for (int j = 0; j < 16; ++j)
    scale_run<16>(q + 16 * j, d * static_cast<float>(q3_k_scale(block + 96, j)), out + 16 * j);
}

// Eight 6-bit scales and minima in 12 bytes: four bytes each for the first four, the others share the rest.
HWY_INLINE int k_scale(const uint8_t* packed, int j) {
  return j < 4 ? packed[j] & 63 : (packed[j + 4] & 0x0F) | (packed[j - 4] >> 6 << 4);
}
HWY_INLINE int k_minimum(const uint8_t* packed, int j) {
  return j < 4 ? packed[j + 4] & 63 : (packed[j + 4] >> 4) | (packed[j] >> 6 << 4);
}

HWY_INLINE void scale_k_groups(const uint8_t* block, const int8_t* q, float* out) {
  const float d = load_scale(block);
  const float dmin = load_scale(block + 2);
  for (int j = 0; j < 8; ++j) {
    const float scale = d * static_cast<float>(k_scale(block + 4, j));
    const float minimum = dmin * static_cast<float>(k_minimum(block + 4, j));
    scale_run<32>(q + 32 * j, scale, -minimum, out + 32 * j);
  }
}

HWY_INLINE void block_q4_k(const uint8_t* block, float* out) {
  int8_t q[256];
  unpack_four_bits(block + 16, q);
  scale_k_groups(block, q, out);
}

HWY_INLINE void block_q5_k(const uint8_t* block, float* out) {
  int8_t q[256];
  unpack_four_bits(block + 48, q);
  add_bits(block + 16, 16, 0, q);
  scale_k_groups(block, q, out);
}

HWY_INLINE void block_q6_k(const uint8_t* block, float* out) {
  int8_t q[256];
  const uint8_t* low = block;  // nibbles in planes of 64 within each half of 128 elements
  const uint8_t* high = block + 128;
  for (int group = 0; group < 8; ++group) {
    const uint8_t* low_bytes = low + group / 4 * 64 + group % 2 * 32;
    const uint8_t* high_bytes = high + group / 4 * 32;
    for (int i = 0; i < 32; ++i) {
      const int nibble = (low_bytes[i] >> (group % 4 / 2 * 4)) & 0x0F;
      const int two = (high_bytes[i] >> (group % 4 * 2)) & 3;
      q[group * 32 + i] = static_cast<int8_t>((nibble | two << 4) - 32);
    }
  }
  const float d = load_scale(block + 208);
  for (int j = 0; j < 16; ++j) {
    const auto scale = static_cast<int8_t>(block[192 + j]);
    scale_run<16>(q + 16 * j, d * static_cast<float>(scale), out + 16 * j);
  }
}

}  // namespace
}  // namespace llmhost::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
