// SHA-256 (FIPS 180-4): names for contents, and keys that are not kept as plain text.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace llmhost {

using Sha256Digest = std::array<uint8_t, 32>;

class Sha256 {
 public:
  Sha256();
  void add(std::span<const std::byte> bytes);
  void add(std::string_view text) { add(std::as_bytes(std::span(text.data(), text.size()))); }
  // Ends the sum; the object is used up.
  Sha256Digest digest();

 private:
  void add_block(const uint8_t* block);

  std::array<uint32_t, 8> state_;
  std::array<uint8_t, 64> buffer_{};
  uint64_t size_ = 0;  // bytes so far
};

Sha256Digest sha256(std::string_view text);
std::string to_hex(const Sha256Digest& digest);

}  // namespace llmhost
