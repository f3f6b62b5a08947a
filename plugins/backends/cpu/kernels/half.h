// Scalar conversions of 16-bit floats, exact (to f32) or rounded to nearest even (from f32), on every CPU.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>

namespace llmhost::cpu {

inline float f16_to_f32(uint16_t bits) {
  const uint32_t sign = static_cast<uint32_t>(bits & 0x8000U) << 16;
  const uint32_t magnitude = static_cast<uint32_t>(bits & 0x7FFFU) << 13;
  // Subnormals are common among the scales of quantised blocks: no branch, and no slow path of the FPU.
  const auto small =
      std::bit_cast<uint32_t>(static_cast<float>(static_cast<int32_t>(bits & 0x3FFU)) * 0x1p-24F);
  const uint32_t is_small = 0U - static_cast<uint32_t>(magnitude < (0x400U << 13));
  const uint32_t is_special = 0U - static_cast<uint32_t>(magnitude >= (0x7C00U << 13));
  const uint32_t rebiased = magnitude + (112U << 23) + (is_special & (112U << 23));
  return std::bit_cast<float>(sign | (is_small & small) | (~is_small & rebiased));
}

inline uint16_t f32_to_f16(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  const uint32_t sign = (bits >> 16) & 0x8000U;
  const uint32_t magnitude = bits & 0x7FFFFFFFU;
  if (magnitude > 0x7F800000U) return static_cast<uint16_t>(sign | 0x7E00U);
  if (magnitude >= 0x477FF000U) return static_cast<uint16_t>(sign | 0x7C00U);  // rounds to infinity
  if (magnitude < 0x38800000U) {
    // Subnormal result: adding 0.5 makes the FPU round at 2^-24.
    const float shifted = std::bit_cast<float>(magnitude) + 0.5F;
    return static_cast<uint16_t>(sign | (std::bit_cast<uint32_t>(shifted) - 0x3F000000U));
  }
  const uint32_t odd = (magnitude >> 13) & 1U;
  return static_cast<uint16_t>(sign | ((magnitude - 0x38000000U + 0xFFFU + odd) >> 13));
}

inline float bf16_to_f32(uint16_t bits) {
  return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
}

inline uint16_t f32_to_bf16(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7FFFFFFFU) > 0x7F800000U) return static_cast<uint16_t>((bits >> 16) | 0x40U);
  return static_cast<uint16_t>((bits + 0x7FFFU + ((bits >> 16) & 1U)) >> 16);
}

template <typename T>
T load_as(const uint8_t* position) {
  T value;
  std::memcpy(&value, position, sizeof value);
  return value;
}

inline float load_f16(const uint8_t* position) {
  return f16_to_f32(load_as<uint16_t>(position));
}

}  // namespace llmhost::cpu
