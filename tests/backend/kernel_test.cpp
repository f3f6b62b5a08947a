// Other kernels called directly, for a look at them on machines where the backend itself cannot run
// (tests/backend/aarch64). The backend's own tests go further.
#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <random>
#include <string_view>
#include <vector>

#include "instance.h"
#include "kernels/half.h"
#include "packed_reference.h"

namespace llmhost::test {
namespace {

std::vector<float> uniform_floats(size_t n, uint32_t seed) {
  std::minstd_rand engine(seed);
  std::uniform_real_distribution<float> uniform(-1.0F, 1.0F);
  std::vector<float> values(n);
  for (float& value : values) value = uniform(engine);
  return values;
}

// Blocks of a type whose scale is a half at the start; scales of about 2^-4.
std::vector<uint8_t> random_rows(llmh_dtype dtype, int64_t elements) {
  const llmh_dtype_layout layout = llmh_dtype_layout_of(dtype);
  std::vector<uint8_t> bytes(static_cast<size_t>(elements / layout.block_elements * layout.block_bytes));
  std::minstd_rand engine(3);
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(engine() >> 7);
  for (size_t at = 0; at < bytes.size(); at += layout.block_bytes) bytes[at + 1] = 0x2C;
  return bytes;
}

}  // namespace

TEST_CASE("packed products of 4 and 8 bits are the reference's to the bit") {
  const cpu::Kernels kernels = cpu::choose_kernels("auto");
  const bool fused =
      std::string_view(kernels.isa).starts_with("AVX") || std::string_view(kernels.isa) == "NEON";
  constexpr int64_t kDepth = 288, kRows = 21, kTokens = 11;
  const std::vector<float> x = uniform_floats(kTokens * kDepth, 1);
  std::vector<uint8_t> rounded(static_cast<size_t>(kTokens * cpu::activation_bytes(kDepth)));
  for (int64_t t = 0; t < kTokens; ++t)
    kernels.packed.quantise(&x[static_cast<size_t>(t * kDepth)], kDepth,
                            &rounded[static_cast<size_t>(t * cpu::activation_bytes(kDepth))]);
  for (const llmh_dtype dtype : {LLMH_DTYPE_Q4_0, LLMH_DTYPE_Q8_0}) {
    const cpu::PackedFormat& format = kernels.packed.by_dtype[dtype];
    REQUIRE(format.supports(kDepth));
    const std::vector<uint8_t> stored = random_rows(dtype, kRows * kDepth);
    const auto row_bytes = static_cast<int64_t>(stored.size()) / kRows;
    std::vector<uint8_t> groups(static_cast<size_t>(format.bytes(kRows, kDepth)));
    for (int64_t row = 0; row < kRows; row += cpu::kPackedRows)
      format.pack(&stored[static_cast<size_t>(row * row_bytes)], row_bytes, kDepth,
                  std::min<int64_t>(cpu::kPackedRows, kRows - row),
                  &groups[static_cast<size_t>(row / cpu::kPackedRows * format.group_bytes(kDepth))]);
    std::vector<float> y(kTokens * kRows);
    cpu::PackedTile tile{};
    tile.weights = groups.data();
    tile.x = rounded.data();
    tile.y = y.data();
    tile.x_stride = cpu::activation_bytes(kDepth);
    tile.y_stride = tile.rows = kRows;
    tile.tokens = kTokens;
    tile.depth = kDepth;
    format.multiply(tile);
    int wrong = 0;
    for (int64_t t = 0; t < kTokens; ++t) {
      const auto blocks = quantised_row(&x[static_cast<size_t>(t * kDepth)], kDepth);
      for (int64_t r = 0; r < kRows; ++r) {
        const auto parts = parts_of_row(dtype, &stored[static_cast<size_t>(r * row_bytes)], kDepth);
        if (y[static_cast<size_t>(t * kRows + r)] != packed_product(parts, blocks, fused)) ++wrong;
      }
    }
    CAPTURE(static_cast<int>(dtype));
    CHECK(wrong == 0);
  }
}

// Relative to double precision: 77 terms are added in vectors, each sum of at most 20 roundings of 2^-24;
// softmax has an exponential of 2 ulp besides.
TEST_CASE("rms norm and softmax against double precision") {
  const cpu::Kernels kernels = cpu::choose_kernels("auto");
  constexpr size_t kN = 77;
  const std::vector<float> x = uniform_floats(kN, 4);
  const std::vector<float> w = uniform_floats(kN, 5);
  std::vector<float> rms(kN), soft(kN);
  kernels.norm.rms(x.data(), w.data(), 1e-5F, 1.0F, kN, rms.data());
  kernels.norm.softmax(x.data(), kN, soft.data());
  double squares = 0, sum = 0;
  for (const float value : x) {
    squares += static_cast<double>(value) * static_cast<double>(value);
    sum += std::exp(static_cast<double>(value));
  }
  const double scale = 1 / std::sqrt(squares / static_cast<double>(kN) + 1e-5);
  for (size_t i = 0; i < kN; ++i) {
    const double value = static_cast<double>(x[i]);
    CHECK(static_cast<double>(rms[i]) ==
          doctest::Approx(value * scale * (static_cast<double>(w[i]) + 1)).epsilon(4e-6));
    CHECK(static_cast<double>(soft[i]) == doctest::Approx(std::exp(value) / sum).epsilon(4e-6));
  }
}

TEST_CASE("decoded f16, bf16, q4_0 and q8_0 are exact") {
  const cpu::Kernels kernels = cpu::choose_kernels("auto");
  for (const llmh_dtype dtype : {LLMH_DTYPE_Q4_0, LLMH_DTYPE_Q8_0}) {
    const std::vector<uint8_t> stored = random_rows(dtype, 320);
    std::vector<float> out(320);
    kernels.decode.by_dtype[dtype](stored.data(), 320, out.data());
    const auto parts = parts_of_row(dtype, stored.data(), 320);
    int wrong = 0;
    for (size_t i = 0; i < out.size(); ++i) {
      const WeightPart& part = parts[i / 32];
      if (out[i] != static_cast<float>(part.codes[i % 32]) * part.scale[i % 32 / 16]) ++wrong;
    }
    CHECK(wrong == 0);
  }
  std::vector<uint16_t> halves(2048);
  for (size_t i = 0; i < halves.size(); ++i)
    halves[i] = static_cast<uint16_t>(i * 15);  // finite in both types
  std::vector<float> f16(halves.size()), bf16(halves.size());
  kernels.decode.by_dtype[LLMH_DTYPE_F16](reinterpret_cast<const uint8_t*>(halves.data()), 2048, f16.data());
  kernels.decode.by_dtype[LLMH_DTYPE_BF16](reinterpret_cast<const uint8_t*>(halves.data()), 2048,
                                           bf16.data());
  for (size_t i = 0; i < 2048; ++i) {
    CHECK(f16[i] == cpu::f16_to_f32(halves[i]));
    CHECK(bf16[i] == cpu::bf16_to_f32(halves[i]));
  }
}

}  // namespace llmhost::test
