#include "engine/siphash.h"

#include <bit>
#include <cstring>
#include <random>

namespace llmhost::engine {
namespace {

static_assert(std::endian::native == std::endian::little);

struct State {
  uint64_t v0, v1, v2, v3;

  void rounds(int n) {
    for (; n > 0; --n) {
      v0 += v1;
      v2 += v3;
      v1 = std::rotl(v1, 13) ^ v0;
      v3 = std::rotl(v3, 16) ^ v2;
      v0 = std::rotl(v0, 32);
      v2 += v1;
      v0 += v3;
      v1 = std::rotl(v1, 17) ^ v2;
      v3 = std::rotl(v3, 21) ^ v0;
      v2 = std::rotl(v2, 32);
    }
  }

  void add(uint64_t word) {
    v3 ^= word;
    rounds(2);
    v0 ^= word;
  }

  uint64_t folded() const { return v0 ^ v1 ^ v2 ^ v3; }
};

}  // namespace

Hash128 random_key() {
  std::random_device device;
  const auto bits = [&device] { return (uint64_t{device()} << 32) | device(); };
  return {bits(), bits()};
}

Hash128 siphash128(const Hash128& key, std::span<const std::byte> bytes) {
  State state{key.low ^ 0x736f6d6570736575U, key.high ^ 0x646f72616e646f6dU ^ 0xeeU,
              key.low ^ 0x6c7967656e657261U, key.high ^ 0x7465646279746573U};
  const uint64_t length = uint64_t{bytes.size()} << 56;
  uint64_t word = 0;
  for (; bytes.size() >= sizeof(word); bytes = bytes.subspan(sizeof(word))) {
    std::memcpy(&word, bytes.data(), sizeof(word));
    state.add(word);
  }
  word = 0;
  if (!bytes.empty()) std::memcpy(&word, bytes.data(), bytes.size());
  state.add(word | length);
  Hash128 hash;
  state.v2 ^= 0xee;
  state.rounds(4);
  hash.low = state.folded();
  state.v1 ^= 0xdd;
  state.rounds(4);
  hash.high = state.folded();
  return hash;
}

}  // namespace llmhost::engine
