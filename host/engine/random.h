// A request's random numbers: counter based (SplitMix64, Steele et al. 2014), so the n-th number of a seed is
// the same on every machine, whatever else runs.
#pragma once

#include <cstdint>

namespace llmhost::engine {

inline uint64_t mix_bits(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9U;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBU;
  return x ^ (x >> 31);
}

// Number `index` of the sequence of `seed`, uniform in [0, 1) with 53 bits.
inline double uniform_at(uint64_t seed, uint64_t index) {
  constexpr uint64_t kGamma = 0x9E3779B97F4A7C15U;
  const uint64_t bits = mix_bits(mix_bits(seed + kGamma) + (index + 1) * kGamma);
  return static_cast<double>(bits >> 11) * 0x1.0p-53;
}

}  // namespace llmhost::engine
