#include "core/quantize.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "core/error.h"
#include "core/quantize_search.h"

namespace llmhost {
namespace {

using quantize::AffineSearch;
using quantize::SymmetricSearch;

constexpr int kSimpleBlock = 32;

template <typename T>
void store(std::byte* position, T value) {
  std::memcpy(position, &value, sizeof value);
}

// False when the value is finite and the f16 is not.
bool store_f16(std::byte* position, float value) {
  const uint16_t bits = f32_to_f16(value);
  store(position, bits);
  return (bits & 0x7C00) != 0x7C00;
}

std::byte byte_of(int value) {
  return static_cast<std::byte>(static_cast<unsigned>(value));
}

bool encode_f32(const float* x, std::byte* out) {
  store(out, *x);
  return true;
}
bool encode_f16(const float* x, std::byte* out) {
  return store_f16(out, *x);
}
bool encode_bf16(const float* x, std::byte* out) {
  const uint16_t bits = f32_to_bf16(*x);
  store(out, bits);
  return (bits & 0x7F80) != 0x7F80;
}

// 1 / scale, or 0 where the scale is too small for that.
float reciprocal(float scale) {
  const float inverse = scale == 0 ? 0 : 1 / scale;
  return std::isfinite(inverse) ? inverse : 0;
}

float first_largest(const float* x) {
  return *std::max_element(x, x + kSimpleBlock, [](float a, float b) { return std::fabs(a) < std::fabs(b); });
}

// Levels of a block of 32 in whole numbers from 0 to kMax. Adding a half and cutting off is the definition:
// products and sums are rounded one by one.
template <int kMax>
std::array<int, kSimpleBlock> levels_of(const float* x, float offset, float inverse, float half) {
  std::array<int, kSimpleBlock> levels;
  for (size_t i = 0; i < kSimpleBlock; ++i) {
    const float scaled = (x[i] - offset) * inverse;
    levels[i] = std::min(static_cast<int>(scaled + half), kMax);
  }
  return levels;
}

void put_nibbles(const std::array<int, kSimpleBlock>& levels, std::byte* out) {
  for (size_t i = 0; i < 16; ++i) out[i] = byte_of((levels[i] & 15) | (levels[i + 16] & 15) << 4);
}

void put_fifth_bits(const std::array<int, kSimpleBlock>& levels, std::byte* out) {
  uint32_t bits = 0;
  for (size_t i = 0; i < kSimpleBlock; ++i) bits |= static_cast<uint32_t>(levels[i] >> 4) << i;
  store(out, bits);
}

bool encode_q4_0(const float* x, std::byte* out) {
  const float d = first_largest(x) / -8;
  put_nibbles(levels_of<15>(x, 0, reciprocal(d), 8.5F), out + 2);
  return store_f16(out, d);
}

bool encode_q5_0(const float* x, std::byte* out) {
  const float d = first_largest(x) / -16;
  const auto levels = levels_of<31>(x, 0, reciprocal(d), 16.5F);
  put_fifth_bits(levels, out + 2);
  put_nibbles(levels, out + 6);
  return store_f16(out, d);
}

template <int kMax>
bool encode_affine(const float* x, std::byte* out) {
  const auto [low, high] = std::minmax_element(x, x + kSimpleBlock);
  const float d = (*high - *low) / kMax;
  if (!std::isfinite(d)) return false;
  const auto levels = levels_of<kMax>(x, *low, reciprocal(d), 0.5F);
  constexpr bool kHasFifthBit = kMax == 31;
  if constexpr (kHasFifthBit) put_fifth_bits(levels, out + 4);
  put_nibbles(levels, out + (kHasFifthBit ? 8 : 4));
  const bool scale_fits = store_f16(out, d);
  return store_f16(out + 2, *low) && scale_fits;
}

bool encode_q8_0(const float* x, std::byte* out) {
  const float d = std::fabs(first_largest(x)) / 127;
  const float inverse = reciprocal(d);
  for (int i = 0; i < kSimpleBlock; ++i) out[2 + i] = byte_of(static_cast<int>(std::round(x[i] * inverse)));
  return store_f16(out, d);
}

// Two bits of each of 256 elements: 32 bytes hold 128 of them, four planes of 32.
void put_two_bits(std::byte* qs, int i, int bits) {
  qs[i / 128 * 32 + i % 32] |= byte_of(bits << (i / 32 % 4 * 2));
}

bool encode_q2_k(const float* x, std::byte* out) {
  const AffineSearch<16, 3, 15> found(x);
  std::fill_n(out, 80, std::byte{0});
  for (int part = 0; part < 16; ++part) out[part] = byte_of(found.scale(part) | found.minimum(part) << 4);
  for (int i = 0; i < 256; ++i) put_two_bits(out + 16, i, found.level(i));
  const bool scale_fits = store_f16(out + 80, found.d());
  return store_f16(out + 82, found.dmin()) && scale_fits;
}

bool encode_q3_k(const float* x, std::byte* out) {
  const SymmetricSearch<4, 32> found(x);
  std::fill_n(out, 108, std::byte{0});
  for (int i = 0; i < 256; ++i) {
    const int level = found.level(i) + 4;
    put_two_bits(out + 32, i, level & 3);
    out[i % 32] |= byte_of((level >> 2) << (i / 32));
  }
  // Low nibbles of the sixteen scales in eight bytes, their upper two bits in four.
  for (int part = 0; part < 16; ++part) {
    const int scale = found.scale(part) + 32;
    out[96 + part % 8] |= byte_of((scale & 15) << (part / 8 * 4));
    out[104 + part % 4] |= byte_of((scale >> 4) << (part / 4 * 2));
  }
  return store_f16(out + 108, found.d());
}

// Eight 6-bit scales and minima in 12 bytes: the first four have bytes of their own, in whose upper bits is
// what the nibbles of the other four leave over.
template <typename Search>
void put_scales_and_minima(const Search& found, std::byte* out) {
  std::fill_n(out, 12, std::byte{0});
  for (int j = 0; j < 4; ++j) {
    const int scale = found.scale(j + 4), minimum = found.minimum(j + 4);
    out[j] = byte_of(found.scale(j) | (scale >> 4) << 6);
    out[j + 4] = byte_of(found.minimum(j) | (minimum >> 4) << 6);
    out[j + 8] = byte_of((scale & 15) | (minimum & 15) << 4);
  }
}

// Four bits of each of 256 elements: 32 bytes hold 64 of them, two planes of 32.
void put_four_bits(std::byte* qs, int i, int bits) {
  qs[i / 64 * 32 + i % 32] |= byte_of(bits << (i / 32 % 2 * 4));
}

bool encode_q4_k(const float* x, std::byte* out) {
  const AffineSearch<32, 15, 63> found(x);
  put_scales_and_minima(found, out + 4);
  std::fill_n(out + 16, 128, std::byte{0});
  for (int i = 0; i < 256; ++i) put_four_bits(out + 16, i, found.level(i));
  const bool scale_fits = store_f16(out, found.d());
  return store_f16(out + 2, found.dmin()) && scale_fits;
}

bool encode_q5_k(const float* x, std::byte* out) {
  const AffineSearch<32, 31, 63> found(x);
  put_scales_and_minima(found, out + 4);
  std::fill_n(out + 16, 160, std::byte{0});
  for (int i = 0; i < 256; ++i) {
    put_four_bits(out + 48, i, found.level(i) & 15);
    out[16 + i % 32] |= byte_of((found.level(i) >> 4) << (i / 32));
  }
  const bool scale_fits = store_f16(out, found.d());
  return store_f16(out + 2, found.dmin()) && scale_fits;
}

bool encode_q6_k(const float* x, std::byte* out) {
  const SymmetricSearch<32, 128> found(x);
  std::fill_n(out, 192, std::byte{0});
  for (int i = 0; i < 256; ++i) {
    const int level = found.level(i) + 32;
    // Low nibbles in planes of 64 within each half of 128 elements.
    out[i / 128 * 64 + i % 64] |= byte_of((level & 15) << (i / 64 % 2 * 4));
    put_two_bits(out + 128, i, level >> 4);
  }
  for (int part = 0; part < 16; ++part) out[192 + part] = byte_of(found.scale(part));
  return store_f16(out + 208, found.d());
}

using Encoder = bool (*)(const float* x, std::byte* out);

Encoder encoder_of(llmh_dtype dtype) {
  switch (dtype) {
    case LLMH_DTYPE_F32:
      return encode_f32;
    case LLMH_DTYPE_F16:
      return encode_f16;
    case LLMH_DTYPE_BF16:
      return encode_bf16;
    case LLMH_DTYPE_Q4_0:
      return encode_q4_0;
    case LLMH_DTYPE_Q4_1:
      return encode_affine<15>;
    case LLMH_DTYPE_Q5_0:
      return encode_q5_0;
    case LLMH_DTYPE_Q5_1:
      return encode_affine<31>;
    case LLMH_DTYPE_Q8_0:
      return encode_q8_0;
    case LLMH_DTYPE_Q2_K:
      return encode_q2_k;
    case LLMH_DTYPE_Q3_K:
      return encode_q3_k;
    case LLMH_DTYPE_Q4_K:
      return encode_q4_k;
    case LLMH_DTYPE_Q5_K:
      return encode_q5_k;
    case LLMH_DTYPE_Q6_K:
      return encode_q6_k;
    default:
      return nullptr;
  }
}

bool are_finite(const float* values, size_t count) {
  bool finite = true;
  for (size_t i = 0; i < count; ++i) finite &= std::fabs(values[i]) <= std::numeric_limits<float>::max();
  return finite;
}

}  // namespace

uint16_t f32_to_f16(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  const auto sign = static_cast<uint16_t>(bits >> 16 & 0x8000U);
  const uint32_t magnitude = bits & 0x7FFFFFFFU;
  if (magnitude > 0x7F800000U) return static_cast<uint16_t>(sign | 0x7E00U);
  if (magnitude >= 0x477FF000U) return static_cast<uint16_t>(sign | 0x7C00U);  // rounds to 65536 or above
  if (magnitude < 0x38800000U) {                                               // below 2^-14
    // The sum's unit in the last place is that of the subnormal numbers, so it rounds as they do.
    const float shifted = std::bit_cast<float>(magnitude) + 0.5F;
    return static_cast<uint16_t>(sign | (std::bit_cast<uint32_t>(shifted) - 0x3F000000U));
  }
  const uint32_t odd = magnitude >> 13 & 1U;
  return static_cast<uint16_t>(sign | ((magnitude - 0x38000000U + 0xFFFU + odd) >> 13));
}

uint16_t f32_to_bf16(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7FFFFFFFU) > 0x7F800000U) return static_cast<uint16_t>(bits >> 16 | 0x40U);
  return static_cast<uint16_t>((bits + 0x7FFFU + (bits >> 16 & 1U)) >> 16);
}

bool can_quantize(llmh_dtype dtype) {
  return encoder_of(dtype) != nullptr;
}

bool quantize_row(llmh_dtype dtype, const float* values, std::byte* out, size_t count) {
  const Encoder encode = encoder_of(dtype);
  const llmh_dtype_layout layout = llmh_dtype_layout_of(dtype);
  if (encode == nullptr)
    throw_error(ErrorCode::kUnimplemented, "nothing is quantised to element type {}",
                layout.name == nullptr ? "(unknown)" : layout.name);
  if (count % layout.block_elements != 0)
    throw_invalid("{} elements are not whole {} blocks of {}", count, layout.name, layout.block_elements);
  bool fits = are_finite(values, count);
  for (size_t i = 0; fits && i < count; i += layout.block_elements, out += layout.block_bytes)
    fits = encode(values + i, out);
  return fits;
}

}  // namespace llmhost
