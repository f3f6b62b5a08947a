#include "core/dequantize.h"

#include <array>
#include <bit>
#include <cstring>

#include "core/error.h"
#include "llmhost/block_decode.hpp"

namespace llmhost {
namespace {

// Products are stored before they are added: no compiler may fuse them, which would round differently.

constexpr std::array<int8_t, 16> kIq4Values = {-127, -104, -83, -65, -49, -35, -22, -10,
                                               1,    13,   25,  38,  53,  69,  89,  113};

template <typename T>
T load(const std::byte* position) {
  T value;
  std::memcpy(&value, position, sizeof value);
  return value;
}

float load_f16(const std::byte* position) {
  return f16_to_f32(load<uint16_t>(position));
}

int byte_at(const std::byte* data, int index) {
  return std::to_integer<int>(data[index]);
}
int low_nibble(const std::byte* data, int index) {
  return byte_at(data, index) & 0x0F;
}
int high_nibble(const std::byte* data, int index) {
  return byte_at(data, index) >> 4;
}

float scaled_plus(float scale, int quant, float offset) {
  const float product = scale * static_cast<float>(quant);
  return product + offset;
}

void decode_f32(const std::byte* block, float* out) {
  *out = load<float>(block);
}
void decode_f16(const std::byte* block, float* out) {
  *out = load_f16(block);
}
void decode_bf16(const std::byte* block, float* out) {
  *out = bf16_to_f32(load<uint16_t>(block));
}
void decode_f64(const std::byte* block, float* out) {
  *out = static_cast<float>(load<double>(block));
}

void decode_q4_0(const std::byte* block, float* out) {
  const float d = load_f16(block);
  const std::byte* qs = block + 2;
  for (int i = 0; i < 16; ++i) {
    out[i] = d * static_cast<float>(low_nibble(qs, i) - 8);
    out[i + 16] = d * static_cast<float>(high_nibble(qs, i) - 8);
  }
}

void decode_q4_1(const std::byte* block, float* out) {
  const float d = load_f16(block);
  const float m = load_f16(block + 2);
  const std::byte* qs = block + 4;
  for (int i = 0; i < 16; ++i) {
    out[i] = scaled_plus(d, low_nibble(qs, i), m);
    out[i + 16] = scaled_plus(d, high_nibble(qs, i), m);
  }
}

// The fifth bit of element i is bit i of `high`.
int fifth_bit(uint32_t high, int i) {
  return static_cast<int>((high >> i) & 1U) << 4;
}

void decode_q5_0(const std::byte* block, float* out) {
  const float d = load_f16(block);
  const auto high = load<uint32_t>(block + 2);
  const std::byte* qs = block + 6;
  for (int i = 0; i < 16; ++i) {
    out[i] = d * static_cast<float>((low_nibble(qs, i) | fifth_bit(high, i)) - 16);
    out[i + 16] = d * static_cast<float>((high_nibble(qs, i) | fifth_bit(high, i + 16)) - 16);
  }
}

void decode_q5_1(const std::byte* block, float* out) {
  const float d = load_f16(block);
  const float m = load_f16(block + 2);
  const auto high = load<uint32_t>(block + 4);
  const std::byte* qs = block + 8;
  for (int i = 0; i < 16; ++i) {
    out[i] = scaled_plus(d, low_nibble(qs, i) | fifth_bit(high, i), m);
    out[i + 16] = scaled_plus(d, high_nibble(qs, i) | fifth_bit(high, i + 16), m);
  }
}

void decode_q8_0(const std::byte* block, float* out) {
  const float d = load_f16(block);
  for (int i = 0; i < 32; ++i) out[i] = static_cast<float>(static_cast<int8_t>(block[2 + i])) * d;
}

// Two bits of each of 256 elements: 32 bytes hold 128 of them, four planes of 32.
int two_bits(const std::byte* qs, int i) {
  const int plane = i / 32 % 4;
  return (byte_at(qs, i / 128 * 32 + i % 32) >> (2 * plane)) & 3;
}

// Four bits of each of 256 elements: 32 bytes hold 64 of them, two planes of 32.
int four_bits(const std::byte* qs, int i) {
  const int plane = i / 32 % 2;
  return (byte_at(qs, i / 64 * 32 + i % 32) >> (4 * plane)) & 0x0F;
}

void decode_q2_k(const std::byte* block, float* out) {
  const std::byte* scales = block;
  const std::byte* qs = block + 16;
  const float d = load_f16(block + 80);
  const float dmin = load_f16(block + 82);
  for (int i = 0; i < 256; ++i) {
    const float scale = d * static_cast<float>(low_nibble(scales, i / 16));
    const float minimum = dmin * static_cast<float>(high_nibble(scales, i / 16));
    out[i] = scaled_plus(scale, two_bits(qs, i), -minimum);
  }
}

// Sixteen 6-bit scales in 12 bytes: low nibbles in the first eight, upper two bits in the last four.
int q3_k_scale(const std::byte* scales, int j) {
  const int low = (byte_at(scales, j % 8) >> (j / 8 * 4)) & 0x0F;
  const int high = (byte_at(scales, 8 + j % 4) >> (j / 4 * 2)) & 3;
  return (low | high << 4) - 32;
}

void decode_q3_k(const std::byte* block, float* out) {
  const std::byte* high_mask = block;
  const std::byte* qs = block + 32;
  const std::byte* scales = block + 96;
  const float d = load_f16(block + 108);
  for (int i = 0; i < 256; ++i) {
    const float scale = d * static_cast<float>(q3_k_scale(scales, i / 16));
    const int high = (byte_at(high_mask, i % 32) >> (i / 32)) & 1;
    out[i] = scale * static_cast<float>(two_bits(qs, i) - (high == 0 ? 4 : 0));
  }
}

// Eight 6-bit scales and minima in 12 bytes: four bytes each for the first four, the other four share the
// rest.
struct ScaleMin {
  int scale;
  int minimum;
};

ScaleMin k_scale_min(const std::byte* packed, int j) {
  if (j < 4) return {byte_at(packed, j) & 63, byte_at(packed, j + 4) & 63};
  const int low = byte_at(packed, j + 4);
  return {(low & 0x0F) | (byte_at(packed, j - 4) >> 6 << 4), (low >> 4) | (byte_at(packed, j) >> 6 << 4)};
}

void decode_q4_k(const std::byte* block, float* out) {
  const float d = load_f16(block);
  const float dmin = load_f16(block + 2);
  for (int i = 0; i < 256; ++i) {
    const ScaleMin packed = k_scale_min(block + 4, i / 32);
    const float minimum = dmin * static_cast<float>(packed.minimum);
    out[i] = scaled_plus(d * static_cast<float>(packed.scale), four_bits(block + 16, i), -minimum);
  }
}

void decode_q5_k(const std::byte* block, float* out) {
  const float d = load_f16(block);
  const float dmin = load_f16(block + 2);
  const std::byte* high_bits = block + 16;
  const std::byte* qs = block + 48;
  for (int i = 0; i < 256; ++i) {
    const ScaleMin packed = k_scale_min(block + 4, i / 32);
    const float minimum = dmin * static_cast<float>(packed.minimum);
    const int high = (byte_at(high_bits, i % 32) >> (i / 32)) & 1;
    out[i] = scaled_plus(d * static_cast<float>(packed.scale), four_bits(qs, i) | high << 4, -minimum);
  }
}

void decode_q6_k(const std::byte* block, float* out) {
  const std::byte* low = block;
  const std::byte* high = block + 128;
  const std::byte* scales = block + 192;
  const float d = load_f16(block + 208);
  for (int i = 0; i < 256; ++i) {
    // Low nibbles come in planes of 64 within each half of 128 elements.
    const int low_bits = (byte_at(low, i / 128 * 64 + i % 64) >> (i / 64 % 2 * 4)) & 0x0F;
    const float scale = d * static_cast<float>(static_cast<int8_t>(scales[i / 16]));
    out[i] = scale * static_cast<float>((low_bits | two_bits(high, i) << 4) - 32);
  }
}

void decode_iq4_nl(const std::byte* block, float* out) {
  const float d = load_f16(block);
  for (int i = 0; i < 16; ++i) {
    out[i] = d * static_cast<float>(kIq4Values[static_cast<size_t>(low_nibble(block + 2, i))]);
    out[i + 16] = d * static_cast<float>(kIq4Values[static_cast<size_t>(high_nibble(block + 2, i))]);
  }
}

void decode_iq4_xs(const std::byte* block, float* out) {
  const float d = load_f16(block);
  const int high_scales = load<uint16_t>(block + 2);
  const std::byte* low_scales = block + 4;
  const std::byte* qs = block + 8;
  for (int i = 0; i < 256; ++i) {
    const int group = i / 32;
    const int low = (byte_at(low_scales, group / 2) >> (group % 2 * 4)) & 0x0F;
    const float scale = d * static_cast<float>((low | ((high_scales >> (2 * group)) & 3) << 4) - 32);
    const int index = (byte_at(qs, group * 16 + i % 16) >> (i / 16 % 2 * 4)) & 0x0F;
    out[i] = scale * static_cast<float>(kIq4Values[static_cast<size_t>(index)]);
  }
}

using Decoder = void (*)(const std::byte* block, float* out);

Decoder decoder_of(llmh_dtype dtype) {
  switch (dtype) {
    case LLMH_DTYPE_F32:
      return decode_f32;
    case LLMH_DTYPE_F16:
      return decode_f16;
    case LLMH_DTYPE_BF16:
      return decode_bf16;
    case LLMH_DTYPE_F64:
      return decode_f64;
    case LLMH_DTYPE_Q4_0:
      return decode_q4_0;
    case LLMH_DTYPE_Q4_1:
      return decode_q4_1;
    case LLMH_DTYPE_Q5_0:
      return decode_q5_0;
    case LLMH_DTYPE_Q5_1:
      return decode_q5_1;
    case LLMH_DTYPE_Q8_0:
      return decode_q8_0;
    case LLMH_DTYPE_Q2_K:
      return decode_q2_k;
    case LLMH_DTYPE_Q3_K:
      return decode_q3_k;
    case LLMH_DTYPE_Q4_K:
      return decode_q4_k;
    case LLMH_DTYPE_Q5_K:
      return decode_q5_k;
    case LLMH_DTYPE_Q6_K:
      return decode_q6_k;
    case LLMH_DTYPE_IQ4_NL:
      return decode_iq4_nl;
    case LLMH_DTYPE_IQ4_XS:
      return decode_iq4_xs;
    default:
      return nullptr;
  }
}

}  // namespace

float f16_to_f32(uint16_t bits) {
  const uint32_t sign = static_cast<uint32_t>(bits & 0x8000) << 16;
  const uint32_t exponent = (bits >> 10) & 0x1F;
  const uint32_t mantissa = bits & 0x3FF;
  if (exponent == 0x1F) return std::bit_cast<float>(sign | 0x7F800000U | mantissa << 13);
  if (exponent != 0) return std::bit_cast<float>(sign | (exponent + 112) << 23 | mantissa << 13);
  const float magnitude = static_cast<float>(mantissa) * 0x1p-24F;
  return sign == 0 ? magnitude : -magnitude;
}

float bf16_to_f32(uint16_t bits) {
  return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
}

bool can_dequantize(llmh_dtype dtype) {
  return decoder_of(dtype) != nullptr || llmh::block_decoder(dtype) != nullptr;
}

void dequantize_row(llmh_dtype dtype, const std::byte* source, float* out, size_t count) {
  const Decoder decode = decoder_of(dtype);
  const llmh::BlockDecoder decode_rare = llmh::block_decoder(dtype);
  const llmh_dtype_layout layout = llmh_dtype_layout_of(dtype);
  if (decode == nullptr && decode_rare == nullptr)
    throw_error(ErrorCode::kUnimplemented, "element type {} has no conversion to f32",
                layout.name == nullptr ? "(unknown)" : layout.name);
  if (count % layout.block_elements != 0)
    throw_invalid("{} elements are not whole {} blocks of {}", count, layout.name, layout.block_elements);
  for (size_t i = 0; i < count; i += layout.block_elements, source += layout.block_bytes) {
    if (decode != nullptr)
      decode(source, out + i);
    else
      decode_rare(reinterpret_cast<const uint8_t*>(source), out + i);
  }
}

}  // namespace llmhost
