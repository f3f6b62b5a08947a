// Decoders of the block types that few models use: IQ1 to IQ3, TQ*, MXFP4, NVFP4 (bit for bit what the `gguf` package
// computes), NF4, FP4, E4M3_32, I8_32. One block in, its elements out; plain code, for backends that decode these types
// once or have no faster loops. All [thread-safe], no allocation.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>

#include "llmhost/block_grids.hpp"
#include "llmhost/dtype.h"

namespace llmh {

using BlockDecoder = void (*)(const uint8_t* block, float* out);

namespace block {

template <typename T>
T load(const uint8_t* position) {
  T value;
  std::memcpy(&value, position, sizeof value);
  return value;
}

inline float from_f16(uint32_t bits) {
  const uint32_t sign = (bits & 0x8000U) << 16;
  const uint32_t exponent = (bits >> 10) & 0x1FU;
  const uint32_t mantissa = bits & 0x3FFU;
  if (exponent == 0x1FU) return std::bit_cast<float>(sign | 0x7F800000U | mantissa << 13);
  if (exponent != 0) return std::bit_cast<float>(sign | (exponent + 112U) << 23 | mantissa << 13);
  const float magnitude = static_cast<float>(mantissa) * 0x1p-24F;
  return sign == 0 ? magnitude : -magnitude;
}

inline float load_f16(const uint8_t* position) {
  return from_f16(load<uint16_t>(position));
}

inline int nibble(const uint8_t* bytes, int index) {
  return (bytes[index / 2] >> (index % 2 * 4)) & 0x0F;
}

// --- Signs: a byte with a bit for each of eight values. ---

// Seven bits are stored; the eighth makes their number even.
inline uint32_t even_signs(uint32_t seven) {
  return seven | (static_cast<uint32_t>(std::popcount(seven)) & 1U) << 7;
}

inline void write_signed(float magnitude, uint32_t signs, int bit, float* out) {
  *out = ((signs >> bit) & 1U) != 0 ? -magnitude : magnitude;
}

inline void put_iq2(float scale, uint32_t entry, uint32_t signs, float* out) {
  constexpr float kValues[4] = {8, 25, 43, 0};
  for (int i = 0; i < 8; ++i) write_signed(scale * kValues[(entry >> (2 * i)) & 3U], signs, i, out + i);
}

inline void put_iq3_xxs(float scale, uint32_t entry, uint32_t signs, float* out) {
  constexpr float kValues[8] = {4, 12, 20, 28, 36, 44, 52, 62};
  for (int i = 0; i < 4; ++i) write_signed(scale * kValues[(entry >> (4 * i)) & 7U], signs, i, out + i);
}

inline void put_iq3_s(float scale, uint32_t entry, uint32_t signs, float* out) {
  for (int i = 0; i < 4; ++i) {
    const auto value = static_cast<float>(2 * ((entry >> (4 * i)) & 15U) + 1);
    write_signed(scale * value, signs, i, out + i);
  }
}

inline void put_iq1(float scale, uint32_t entry, float delta, float* out) {
  for (int i = 0; i < 8; ++i) {
    const float value = static_cast<float>(static_cast<int>((entry >> (2 * i)) & 3U) - 1) + delta;
    out[i] = scale * value;
  }
}

// Four bits s of a scale d: d (s + 1/2) times a power of two.
inline float half_step_scale(float d, uint32_t s, float factor) {
  const float scale = d * (0.5F + static_cast<float>(s));
  return scale * factor;
}

// --- Grids of eight values ---

inline void decode_iq2_xxs(const uint8_t* block, float* out) {
  const float d = load_f16(block);
  for (int group = 0; group < 8; ++group) {
    const uint8_t* indices = block + 2 + 8 * group;
    const auto word = load<uint32_t>(indices + 4);
    const float scale = half_step_scale(d, word >> 28, 0.25F);
    for (int j = 0; j < 4; ++j)
      put_iq2(scale, kIq2XxsGrid[indices[j]], even_signs((word >> (7 * j)) & 127U), out + 32 * group + 8 * j);
  }
}

inline void decode_iq2_xs(const uint8_t* block, float* out) {
  const float d = load_f16(block);
  for (int j = 0; j < 32; ++j) {
    const uint32_t index = load<uint16_t>(block + 2 + 2 * j);
    const auto s = static_cast<uint32_t>(nibble(block + 66, j / 2));
    put_iq2(half_step_scale(d, s, 0.25F), kIq2XsGrid[index & 511U], even_signs(index >> 9), out + 8 * j);
  }
}

inline void decode_iq2_s(const uint8_t* block, float* out) {
  const float d = load_f16(block);
  const uint8_t* signs = block + 34;
  const uint8_t* high = block + 66;
  for (int j = 0; j < 32; ++j) {
    const uint32_t index = block[2 + j] | ((high[j / 4] >> (j % 4 * 2)) & 3U) << 8;
    const auto s = static_cast<uint32_t>(nibble(block + 74, j / 2));
    put_iq2(half_step_scale(d, s, 0.25F), kIq2SGrid[index], signs[j], out + 8 * j);
  }
}

// --- Grids of four values ---

inline void decode_iq3_xxs(const uint8_t* block, float* out) {
  const float d = load_f16(block);
  for (int group = 0; group < 8; ++group) {
    const uint8_t* indices = block + 2 + 8 * group;
    const auto word = load<uint32_t>(block + 66 + 4 * group);
    const float scale = half_step_scale(d, word >> 28, 0.5F);
    for (int j = 0; j < 8; ++j) {
      const uint32_t signs = even_signs((word >> (j / 2 * 7)) & 127U) >> (j % 2 * 4);
      put_iq3_xxs(scale, kIq3XxsGrid[indices[j]], signs, out + 32 * group + 4 * j);
    }
  }
}

inline void decode_iq3_s(const uint8_t* block, float* out) {
  const float d = load_f16(block);
  const uint8_t* high = block + 66;
  const uint8_t* signs = block + 74;
  for (int j = 0; j < 64; ++j) {
    const uint32_t index = block[2 + j] | ((high[j / 8] >> (j % 8)) & 1U) << 8;
    const float scale = d * static_cast<float>(1 + 2 * nibble(block + 106, j / 8));
    put_iq3_s(scale, kIq3SGrid[index], static_cast<uint32_t>(signs[j / 2]) >> (j % 2 * 4), out + 4 * j);
  }
}

// --- Ternary values with an offset ---

inline void decode_iq1_s(const uint8_t* block, float* out) {
  const float d = load_f16(block);
  for (int group = 0; group < 8; ++group) {
    const uint32_t high = load<uint16_t>(block + 34 + 2 * group);
    const float scale = d * static_cast<float>(2 * ((high >> 12) & 7U) + 1);
    const float delta = (high & 0x8000U) == 0 ? 0.125F : -0.125F;
    for (int j = 0; j < 4; ++j) {
      const uint32_t index = block[2 + 4 * group + j] | ((high >> (3 * j)) & 7U) << 8;
      put_iq1(scale, kIq1Grid[index], delta, out + 32 * group + 8 * j);
    }
  }
}

// The scale of the block is spread over the top nibbles of the words with the scales of its parts.
inline void decode_iq1_m(const uint8_t* block, float* out) {
  const uint8_t* high = block + 32;
  const uint8_t* scales = block + 48;
  uint32_t d_bits = 0;
  for (int i = 0; i < 4; ++i) d_bits |= static_cast<uint32_t>(load<uint16_t>(scales + 2 * i) >> 12) << (4 * i);
  const float d = from_f16(d_bits);
  for (int j = 0; j < 32; ++j) {
    const int part = j / 2;
    const uint32_t word = load<uint16_t>(scales + part / 4 * 2);
    const float scale = d * static_cast<float>(2 * ((word >> (part % 4 * 3)) & 7U) + 1);
    const auto bits = static_cast<uint32_t>(nibble(high, j));
    put_iq1(scale, kIq1Grid[block[j] | (bits & 7U) << 8], (bits & 8U) == 0 ? 0.125F : -0.125F, out + 8 * j);
  }
}

// Digit `power` of a byte in base 3: the byte is a fraction of 256, rounded up.
inline float ternary_digit(uint8_t byte, int power) {
  constexpr uint8_t kPowers[5] = {1, 3, 9, 27, 81};
  const auto shifted = static_cast<uint8_t>(byte * kPowers[power]);
  return static_cast<float>((shifted * 3 >> 8) - 1);
}

inline void decode_tq1_0(const uint8_t* block, float* out) {
  const float d = load_f16(block + 52);
  for (int i = 0; i < 160; ++i) out[i] = d * ternary_digit(block[i % 32], i / 32);
  for (int i = 0; i < 80; ++i) out[160 + i] = d * ternary_digit(block[32 + i % 16], i / 16);
  for (int i = 0; i < 16; ++i) out[240 + i] = d * ternary_digit(block[48 + i % 4], i / 4);
}

inline void decode_tq2_0(const uint8_t* block, float* out) {
  const float d = load_f16(block + 64);
  for (int i = 0; i < 256; ++i) {
    const int two = (block[i / 128 * 32 + i % 32] >> (i / 32 % 4 * 2)) & 3;
    out[i] = d * static_cast<float>(two - 1);
  }
}

// --- Four-bit floats e2m1: the values doubled, the scales halved ---

inline constexpr int8_t kE2m1Doubled[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

// Half of 2^(exponent - 127), down to the subnormal numbers of f32.
inline float half_power(uint8_t exponent) {
  const uint32_t bits = exponent < 2 ? 0x00200000U << exponent : static_cast<uint32_t>(exponent - 1) << 23;
  return std::bit_cast<float>(bits);
}

inline void decode_mxfp4(const uint8_t* block, float* out) {
  const float d = half_power(block[0]);
  for (int i = 0; i < 16; ++i) {
    out[i] = d * static_cast<float>(kE2m1Doubled[block[1 + i] & 0x0F]);
    out[i + 16] = d * static_cast<float>(kE2m1Doubled[block[1 + i] >> 4]);
  }
}

// Half of an e4m3 number, whose sign is left out; 0x7F, which is no number, counts as 0.
inline float half_e4m3(uint8_t bits) {
  const uint32_t exponent = (bits >> 3) & 0x0FU;
  const auto mantissa = static_cast<float>(bits & 7U);
  if (bits == 0x7F) return 0.0F;
  if (exponent == 0) return mantissa * 0x1p-10F;
  return (1.0F + mantissa / 8.0F) * std::bit_cast<float>((exponent - 8U + 127U) << 23);
}

inline void decode_nvfp4(const uint8_t* block, float* out) {
  for (int part = 0; part < 4; ++part) {
    const float d = half_e4m3(block[part]);
    const uint8_t* packed = block + 4 + 8 * part;
    for (int i = 0; i < 8; ++i) {
      out[16 * part + i] = d * static_cast<float>(kE2m1Doubled[packed[i] & 0x0F]);
      out[16 * part + i + 8] = d * static_cast<float>(kE2m1Doubled[packed[i] >> 4]);
    }
  }
}

// --- Blocks with an f32 scale: 4-bit codes (elements 0 to 31 in the low nibbles), bytes ---

inline constexpr float kNf4Values[16] = {
    -1.0F,      -0.6961928F, -0.52507305F, -0.3949175F, -0.28444138F, -0.18477343F, -0.091050036F, 0.0F,
    0.0795803F, 0.1609302F,  0.2461123F,   0.33791524F, 0.44070983F,  0.562617F,    0.72295684F,   1.0F};
inline constexpr float kFp4Values[16] = {0.0F,         0.0052083335F, 0.6666667F,   1.0F,           0.33333334F, 0.5F,
                                         0.16666667F,  0.25F,         0.0F,         -0.0052083335F, -0.6666667F, -1.0F,
                                         -0.33333334F, -0.5F,         -0.16666667F, -0.25F};

inline void put_codes(const uint8_t* block, const float* values, float* out) {
  const auto d = load<float>(block);
  for (int i = 0; i < 32; ++i) {
    out[i] = values[block[4 + i] & 0x0F] * d;
    out[i + 32] = values[block[4 + i] >> 4] * d;
  }
}

inline void decode_nf4(const uint8_t* block, float* out) {
  put_codes(block, kNf4Values, out);
}
inline void decode_fp4(const uint8_t* block, float* out) {
  put_codes(block, kFp4Values, out);
}

// 1-4-3 bits without infinities, all ones NaN. The multiplication moves the exponent's bias and is exact, subnormal
// numbers included.
inline float from_e4m3(uint8_t bits) {
  const uint32_t magnitude = (bits & 0x7FU) == 0x7FU ? 0x7FC00000U : (bits & 0x7FU) << 20;
  return std::bit_cast<float>(magnitude | (bits & 0x80U) << 24) * 0x1p120F;
}

inline void decode_e4m3_32(const uint8_t* block, float* out) {
  const auto d = load<float>(block);
  for (int i = 0; i < 32; ++i) out[i] = from_e4m3(block[4 + i]) * d;
}

inline void decode_i8_32(const uint8_t* block, float* out) {
  const auto d = load<float>(block);
  for (int i = 0; i < 32; ++i) out[i] = static_cast<float>(static_cast<int8_t>(block[4 + i])) * d;
}

}  // namespace block

// Null for types that this header does not decode.
constexpr BlockDecoder block_decoder(llmh_dtype dtype) {
  switch (dtype) {
    case LLMH_DTYPE_IQ1_S:
      return block::decode_iq1_s;
    case LLMH_DTYPE_IQ1_M:
      return block::decode_iq1_m;
    case LLMH_DTYPE_IQ2_XXS:
      return block::decode_iq2_xxs;
    case LLMH_DTYPE_IQ2_XS:
      return block::decode_iq2_xs;
    case LLMH_DTYPE_IQ2_S:
      return block::decode_iq2_s;
    case LLMH_DTYPE_IQ3_XXS:
      return block::decode_iq3_xxs;
    case LLMH_DTYPE_IQ3_S:
      return block::decode_iq3_s;
    case LLMH_DTYPE_TQ1_0:
      return block::decode_tq1_0;
    case LLMH_DTYPE_TQ2_0:
      return block::decode_tq2_0;
    case LLMH_DTYPE_MXFP4:
      return block::decode_mxfp4;
    case LLMH_DTYPE_NVFP4:
      return block::decode_nvfp4;
    case LLMH_DTYPE_NF4:
      return block::decode_nf4;
    case LLMH_DTYPE_FP4:
      return block::decode_fp4;
    case LLMH_DTYPE_E4M3_32:
      return block::decode_e4m3_32;
    case LLMH_DTYPE_I8_32:
      return block::decode_i8_32;
    default:
      return nullptr;
  }
}

}  // namespace llmh
