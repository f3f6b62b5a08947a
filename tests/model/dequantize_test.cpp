#include "core/dequantize.h"

#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <vector>

#include "core/error.h"
#include "core/file.h"
#include "model/gguf.h"
#include "support/paths.h"

namespace llmhost::model {
namespace {

template <typename T>
T take(std::span<const std::byte>& bytes) {
  REQUIRE(bytes.size() >= sizeof(T));
  T value;
  std::memcpy(&value, bytes.data(), sizeof value);
  bytes = bytes.subspan(sizeof value);
  return value;
}

bool same_bits_or_nan(float a, float b) {
  if (std::isnan(a) || std::isnan(b)) return std::isnan(a) && std::isnan(b);
  return std::bit_cast<uint32_t>(a) == std::bit_cast<uint32_t>(b);
}

// No tolerance: the decoders promise the bits of the gguf package. Only NaNs are alike whatever their
// payload.
TEST_CASE("every stored type decodes to the bits of the gguf package") {
  const MappedFile file(test::data("model/dequantize.bin"));
  std::span<const std::byte> bytes = file.bytes();
  int types = 0;
  while (!bytes.empty()) {
    const auto ggml_type = take<uint32_t>(bytes);
    const auto input_bytes = take<uint32_t>(bytes);
    const auto count = take<uint32_t>(bytes);
    const llmh_dtype dtype = gguf_dtype(ggml_type);
    CAPTURE(ggml_type);
    REQUIRE(can_dequantize(dtype));
    REQUIRE(bytes.size() >= input_bytes + count * sizeof(float));
    std::vector<float> decoded(count);
    dequantize_row(dtype, bytes.data(), decoded.data(), count);
    bytes = bytes.subspan(input_bytes);
    size_t different = 0;
    for (uint32_t i = 0; i < count; ++i)
      different += same_bits_or_nan(decoded[i], take<float>(bytes)) ? 0 : 1;
    CHECK(different == 0);
    ++types;
  }
  CHECK(types == 27);
}

TEST_CASE("f16 covers every exponent") {
  CHECK(f16_to_f32(0x0001) == 0x1p-24F);
  CHECK(f16_to_f32(0x03FF) == 1023 * 0x1p-24F);
  CHECK(f16_to_f32(0x0400) == 0x1p-14F);
  CHECK(f16_to_f32(0x3C00) == 1.0F);
  CHECK(f16_to_f32(0xC000) == -2.0F);
  CHECK(f16_to_f32(0x7BFF) == 65504.0F);
  CHECK(f16_to_f32(0xFC00) == -INFINITY);
  CHECK(std::isnan(f16_to_f32(0x7E00)));
  CHECK(std::signbit(f16_to_f32(0x8000)));
  CHECK(bf16_to_f32(0x3F80) == 1.0F);
}

TEST_CASE("what cannot be decoded is refused") {
  const std::byte block[64] = {};
  float out[64];
  CHECK_THROWS_WITH_AS(dequantize_row(LLMH_DTYPE_Q8_0, block, out, 33),
                       "33 elements are not whole q8_0 blocks of 32", Error);
  CHECK_THROWS_WITH_AS(dequantize_row(LLMH_DTYPE_I32, block, out, 1),
                       "element type i32 has no conversion to f32", Error);
  CHECK_THROWS_AS(dequantize_row(LLMH_DTYPE_INVALID, block, out, 1), Error);
  CHECK_FALSE(can_dequantize(LLMH_DTYPE_BOOL));
}

}  // namespace
}  // namespace llmhost::model
