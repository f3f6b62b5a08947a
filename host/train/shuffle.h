// Orders that depend on nothing but a seed: the same on every machine and for every number of threads, so
// that a run can go on where it stopped. Number n of a stream is mix_bits(key + (n + 1) * gamma) of
// SplitMix64 (Steele et al. 2014), where key mixes the seed and the stream's number; the shuffle is
// Fisher-Yates from the last place down, with Lemire's unbiased choice (2019).
#pragma once

#include <cstdint>
#include <numeric>
#include <utility>
#include <vector>

#include "engine/random.h"

namespace llmhost::train {

class RandomStream {
 public:
  RandomStream(uint64_t seed, uint64_t stream)
      : key_(engine::mix_bits(engine::mix_bits(seed + kGamma) + (stream + 1) * kGamma)) {}

  uint64_t next() { return engine::mix_bits(key_ + ++n_ * kGamma); }

  // Uniform below `bound`, which is at least 1.
  uint64_t below(uint64_t bound) {
    __extension__ typedef unsigned __int128 Wide;
    Wide product = static_cast<Wide>(next()) * bound;
    // Only the lowest (2^64 mod bound) values of the low half are one too many.
    if (static_cast<uint64_t>(product) < bound)
      for (const uint64_t surplus = (0 - bound) % bound; static_cast<uint64_t>(product) < surplus;)
        product = static_cast<Wide>(next()) * bound;
    return static_cast<uint64_t>(product >> 64);
  }

 private:
  static constexpr uint64_t kGamma = 0x9E3779B97F4A7C15U;
  uint64_t key_;
  uint64_t n_ = 0;
};

// 0 … n - 1 in the order of this seed and stream (an epoch, say).
inline std::vector<uint32_t> shuffled(size_t n, uint64_t seed, uint64_t stream) {
  std::vector<uint32_t> order(n);
  std::iota(order.begin(), order.end(), 0U);
  RandomStream random(seed, stream);
  for (size_t i = n; i > 1; --i) std::swap(order[i - 1], order[random.below(i)]);
  return order;
}

}  // namespace llmhost::train
