// SipHash-2-4 with 128 bits (Aumasson, Bernstein 2012): a keyed hash. Who does not know the key cannot find
// inputs that collide.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace llmhost::engine {

struct Hash128 {
  uint64_t high = 0;
  uint64_t low = 0;
  bool operator==(const Hash128&) const = default;
};

Hash128 random_key();  // from the system; slow

Hash128 siphash128(const Hash128& key, std::span<const std::byte> bytes);

}  // namespace llmhost::engine
