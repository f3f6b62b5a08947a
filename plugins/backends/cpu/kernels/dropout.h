// llmh_dropout_keep in parts: what follows from seed, site and row, and from p.
#pragma once

#include <cmath>
#include <cstdint>

namespace llmhost::cpu {

constexpr uint64_t kMixFirst = 0xBF58476D1CE4E5B9ULL;
constexpr uint64_t kMixSecond = 0x94D049BB133111EBULL;
constexpr uint64_t kCounterStep = 0x9E3779B97F4A7C15ULL;

constexpr uint64_t mix_words(uint64_t z) {
  z = (z ^ (z >> 30)) * kMixFirst;
  z = (z ^ (z >> 27)) * kMixSecond;
  return z ^ (z >> 31);
}

// To which kCounterStep is added for each column.
constexpr uint64_t dropout_state(uint64_t seed, int32_t site, int64_t row) {
  const uint64_t own = mix_words(seed + kCounterStep * static_cast<uint64_t>(static_cast<uint32_t>(site)));
  return own + kCounterStep * (static_cast<uint64_t>(row) << 32);
}

// The least number of 32 bits that keeps an element.
inline uint32_t dropout_least(float p) {
  return static_cast<uint32_t>(std::ceil(static_cast<double>(p) * 4294967296.0));
}

}  // namespace llmhost::cpu
