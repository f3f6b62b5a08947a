// Packed weights: nothing is lost by packing, and products are those of packed_reference.h to the bit,
// whatever the shape and the instruction set.
#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "backend_fixture.h"
#include "core/dequantize.h"
#include "instance.h"
#include "packed_reference.h"

namespace llmhost::test {
namespace {

bool is_fused(const std::string& isa) {
  return isa.starts_with("avx");
}

struct Packed {
  Packed(const cpu::PackedFormat& f, llmh_dtype dtype, std::vector<std::byte> data, int64_t n, int64_t k)
      : format(f), stored(std::move(data)), rows(n), depth(k) {
    const llmh_dtype_layout layout = llmh_dtype_layout_of(dtype);
    row_bytes = k / layout.block_elements * layout.block_bytes;
    groups.resize(static_cast<size_t>(f.bytes(n, k)), 0xAA);
    for (int64_t row = 0; row < n; row += cpu::kPackedRows)
      f.pack(stored_row(row), row_bytes, k, std::min<int64_t>(n - row, cpu::kPackedRows),
             groups.data() + row / cpu::kPackedRows * f.group_bytes(k));
  }
  const uint8_t* stored_row(int64_t row) const {
    return reinterpret_cast<const uint8_t*>(stored.data()) + row * row_bytes;
  }
  const cpu::PackedFormat& format;
  std::vector<std::byte> stored;
  std::vector<uint8_t> groups;
  int64_t rows, depth, row_bytes;
};

int64_t block_of(llmh_dtype dtype) {
  return llmh_dtype_layout_of(dtype).block_elements;
}

// Products of all tokens with all rows, in one call; tokens are read and written through the row lists.
std::vector<float> multiply(const Packed& w, const std::vector<uint8_t>& x, int64_t tokens,
                            const std::vector<float>& bias, const std::vector<int32_t>& x_rows = {},
                            const std::vector<int32_t>& y_rows = {}) {
  std::vector<float> y(static_cast<size_t>(tokens * w.rows), -77.0F);
  w.format.multiply({.weights = w.groups.data(),
                     .x = x.data(),
                     .bias = bias.empty() ? nullptr : bias.data(),
                     .y = y.data(),
                     .x_rows = x_rows.empty() ? nullptr : x_rows.data(),
                     .y_rows = y_rows.empty() ? nullptr : y_rows.data(),
                     .x_stride = cpu::activation_bytes(w.depth),
                     .y_stride = w.rows,
                     .tokens = tokens,
                     .rows = w.rows,
                     .depth = w.depth});
  return y;
}

std::vector<uint8_t> quantise(const cpu::PackedKernels& kernels, const std::vector<float>& x, int64_t depth) {
  const auto stride = static_cast<size_t>(cpu::activation_bytes(depth));
  const size_t tokens = x.size() / static_cast<size_t>(depth);
  std::vector<uint8_t> rows(tokens * stride);
  for (size_t t = 0; t < tokens; ++t)
    kernels.quantise(x.data() + t * static_cast<size_t>(depth), depth, rows.data() + t * stride);
  return rows;
}

// All products by the reference, [tokens][rows].
std::vector<float> expected_products(const Packed& w, llmh_dtype dtype, const std::vector<float>& x,
                                     bool fused) {
  std::vector<float> y;
  std::vector<std::vector<WeightPart>> parts;
  for (int64_t r = 0; r < w.rows; ++r) parts.push_back(parts_of_row(dtype, w.stored_row(r), w.depth));
  for (size_t t = 0; t < x.size(); t += static_cast<size_t>(w.depth)) {
    const auto blocks = quantised_row(x.data() + t, w.depth);
    for (const auto& row : parts) y.push_back(packed_product(row, blocks, fused));
  }
  return y;
}

// Whether byte i of the stored data is part of a scale that is an f16, an f32 or a power of two.
bool is_scale(llmh_dtype dtype, size_t i) {
  const size_t at = i % llmh_dtype_layout_of(dtype).block_bytes;
  switch (dtype) {
    case LLMH_DTYPE_Q4_1:
    case LLMH_DTYPE_Q5_1:
    case LLMH_DTYPE_Q4_K:
    case LLMH_DTYPE_Q5_K:
    case LLMH_DTYPE_I8_32:
      return at < 4;
    case LLMH_DTYPE_Q2_K:
      return at >= 80;
    case LLMH_DTYPE_Q3_K:
      return at >= 108;
    case LLMH_DTYPE_Q6_K:
      return at >= 208;
    case LLMH_DTYPE_NVFP4:
      return at < 4;
    default:
      return at < 2;
  }
}

size_t count_differences(const std::vector<float>& a, const float* b) {
  size_t different = 0;
  for (size_t i = 0; i < a.size(); ++i)
    if (std::memcmp(&a[i], b + i, sizeof(float)) != 0) ++different;
  return different;
}

}  // namespace

TEST_CASE("unpacked rows are what the stored rows decode to, to the bit") {
  for (const std::string& isa : usable_isas()) {
    const cpu::Kernels kernels = cpu::choose_kernels(isa.c_str());
    for (const llmh_dtype dtype : packed_types()) {
      CAPTURE(isa);
      CAPTURE(llmh_dtype_layout_of(dtype).name);
      const int64_t depth = 512, rows = 23;
      const cpu::PackedFormat& format = kernels.packed.by_dtype[dtype];
      REQUIRE(format.supports(depth));
      CHECK_FALSE(format.supports(block_of(dtype) + 1));
      const Packed packed(format, dtype, random_blocks(dtype, rows, depth, 3), rows, depth);
      CHECK(static_cast<double>(packed.groups.size()) ==
            doctest::Approx(static_cast<double>(packed.row_bytes * 32)).epsilon(0.02));
      std::vector<float> expected(static_cast<size_t>(depth)), actual(expected.size());
      for (int64_t row = 0; row < rows; ++row) {
        dequantize_row(dtype, reinterpret_cast<const std::byte*>(packed.stored_row(row)), expected.data(),
                       expected.size());
        format.unpack_row(packed.groups.data() + row / 16 * format.group_bytes(depth), row % 16, depth,
                          actual.data());
        CHECK(count_differences(expected, actual.data()) == 0);
      }
    }
  }
}

TEST_CASE("products are those of the reference to the bit, whatever the number of tokens and rows") {
  for (const std::string& isa : usable_isas()) {
    const cpu::Kernels kernels = cpu::choose_kernels(isa.c_str());
    for (const llmh_dtype dtype : packed_types()) {
      CAPTURE(isa);
      CAPTURE(llmh_dtype_layout_of(dtype).name);
      const int64_t depth = 3 * block_of(dtype), rows = 53, most = 20;
      const Packed w(kernels.packed.by_dtype[dtype], dtype, random_blocks(dtype, rows, depth, 5), rows,
                     depth);
      const std::vector<float> x = random_floats(static_cast<size_t>(most * depth), 6);
      const std::vector<uint8_t> quantised = quantise(kernels.packed, x, depth);
      const std::vector<float> expected = expected_products(w, dtype, x, is_fused(isa));
      for (int64_t tokens = 1; tokens <= most; ++tokens) {
        CAPTURE(tokens);
        const std::vector<float> y = multiply(w, quantised, tokens, {});
        CHECK(count_differences(y, expected.data()) == 0);
      }
    }
  }
}

TEST_CASE("row lists say which rows are read and written, a bias is added once, other memory is left alone") {
  const std::vector<int32_t> x_rows{4, 0, 4, 2, 1}, y_rows{3, 0, 6, 1, 5};
  for (const std::string& isa : usable_isas()) {
    const cpu::Kernels kernels = cpu::choose_kernels(isa.c_str());
    for (const llmh_dtype dtype : packed_types()) {
      CAPTURE(isa);
      CAPTURE(llmh_dtype_layout_of(dtype).name);
      const int64_t depth = 256, rows = 19;
      const Packed w(kernels.packed.by_dtype[dtype], dtype, random_blocks(dtype, rows, depth, 8), rows,
                     depth);
      const std::vector<float> x = random_floats(static_cast<size_t>(5 * depth), 9);
      const std::vector<float> bias = random_floats(static_cast<size_t>(rows), 10);
      const std::vector<float> plain = multiply(w, quantise(kernels.packed, x, depth), 5, {});
      std::vector<float> y(static_cast<size_t>(7 * rows), -77.0F);
      std::vector<float> expected = y;
      const std::vector<uint8_t> quantised = quantise(kernels.packed, x, depth);
      w.format.multiply({w.groups.data(), quantised.data(), bias.data(), y.data(), x_rows.data(),
                         y_rows.data(), cpu::activation_bytes(depth), rows, 5, rows, depth});
      for (size_t t = 0; t < 5; ++t)
        for (size_t r = 0; r < static_cast<size_t>(rows); ++r)
          expected[static_cast<size_t>(y_rows[t] * rows) + r] =
              plain[static_cast<size_t>(x_rows[t] * rows) + r] + bias[r];
      CHECK(count_differences(expected, y.data()) == 0);
    }
  }
}

TEST_CASE("extreme codes and activations of +-127 do not saturate") {
  for (const std::string& isa : usable_isas()) {
    const cpu::Kernels kernels = cpu::choose_kernels(isa.c_str());
    for (const llmh_dtype dtype : packed_types()) {
      CAPTURE(isa);
      CAPTURE(llmh_dtype_layout_of(dtype).name);
      const int64_t depth = 256, rows = 16;
      for (const int byte : {0x00, 0x7F, 0x80, 0xFF}) {
        std::vector<std::byte> data = random_blocks(dtype, rows, depth, 11);
        for (size_t i = 0; i < data.size(); ++i)
          if (!is_scale(dtype, i)) data[i] = static_cast<std::byte>(byte);
        const Packed w(kernels.packed.by_dtype[dtype], dtype, data, rows, depth);
        std::vector<float> x(static_cast<size_t>(3 * depth), 1.0F);
        for (size_t i = 0; i < x.size(); ++i)
          if (i >= 2 * static_cast<size_t>(depth) || (i >= static_cast<size_t>(depth) && i % 2 == 0))
            x[i] = -1.0F;
        const std::vector<float> expected = expected_products(w, dtype, x, is_fused(isa));
        const std::vector<float> y = multiply(w, quantise(kernels.packed, x, depth), 3, {});
        CHECK(count_differences(expected, y.data()) == 0);
      }
    }
  }
}

// |error| is at most half a step of 1/127 of the block's greatest magnitude for each activation, times its
// weight, and a rounding of 2^-24 for each of some operations a block, of terms no greater than scale * code
// * x and minimum * x.
TEST_CASE(
    "products differ from those of the decoded weights by no more than the rounding of activations "
    "explains") {
  const cpu::Kernels kernels = cpu::choose_kernels("auto");
  for (const llmh_dtype dtype : packed_types()) {
    CAPTURE(llmh_dtype_layout_of(dtype).name);
    const int64_t depth = 1024, rows = 33, tokens = 3;
    const Packed w(kernels.packed.by_dtype[dtype], dtype, random_blocks(dtype, rows, depth, 13), rows, depth);
    const std::vector<float> x = random_floats(static_cast<size_t>(tokens * depth), 14);
    const std::vector<float> y = multiply(w, quantise(kernels.packed, x, depth), tokens, {});
    for (int64_t t = 0; t < tokens; ++t)
      for (int64_t r = 0; r < rows; ++r) {
        const std::vector<WeightPart> parts = parts_of_row(dtype, w.stored_row(r), depth);
        double sum = 0, bound = 0;
        for (size_t b = 0; b < parts.size(); ++b) {
          const float* block = x.data() + t * depth + static_cast<int64_t>(32 * b);
          double greatest = 0;
          for (int i = 0; i < 32; ++i)
            greatest = std::max(greatest, std::fabs(static_cast<double>(block[i])));
          for (int i = 0; i < 32; ++i) {
            const double product = static_cast<double>(parts[b].scale[i / 16]) * parts[b].codes[i];
            const auto minimum = static_cast<double>(parts[b].minimum[i / 16]);
            sum += (product + minimum) * static_cast<double>(block[i]);
            bound += greatest * (std::fabs(product + minimum) / 254 +
                                 0x1p-20 * (std::fabs(product) + std::fabs(minimum)));
          }
        }
        CHECK(std::fabs(static_cast<double>(y[static_cast<size_t>(t * rows + r)]) - sum) <= bound);
      }
  }
}

TEST_CASE(
    "activations are rounded to the reference's bits, zeros stay zero and what is not finite becomes NaN") {
  const int64_t depth = 32 * 40;
  std::vector<float> x = random_floats(static_cast<size_t>(depth), 15, -3.0F, 3.0F);
  for (int i = 0; i < 32; ++i) {
    x[static_cast<size_t>(i)] = i % 2 == 0 ? 0.0F : -0.0F;
    x[static_cast<size_t>(32 + i)] *= 0x1p-120F;  // counts as zero
    x[static_cast<size_t>(64 + i)] *= 0x1p-98F;
    x[static_cast<size_t>(96 + i)] *= 0x1p126F;
    x[static_cast<size_t>(128 + i)] = static_cast<float>(i % 8) + 0.5F;  // ties
  }
  x[128] = 127.0F;
  x[32 * 6 + 5] = std::numeric_limits<float>::quiet_NaN();
  x[32 * 7 + 9] = -std::numeric_limits<float>::infinity();
  x[32 * 8] = -std::numeric_limits<float>::quiet_NaN();
  x[32 * 8 + 1] = std::numeric_limits<float>::infinity();
  const std::vector<cpu::ActivationBlock> expected = quantised_row(x.data(), depth);
  for (const std::string& isa : usable_isas()) {
    CAPTURE(isa);
    const cpu::Kernels kernels = cpu::choose_kernels(isa.c_str());
    const std::vector<uint8_t> row = quantise(kernels.packed, x, depth);
    for (size_t b = 0; b < expected.size(); ++b) {
      CAPTURE(b);
      cpu::ActivationBlock block;
      std::memcpy(&block, row.data() + b * sizeof block, sizeof block);
      const bool is_nan = b >= 6 && b <= 8;
      CHECK(std::isnan(block.scale) == is_nan);
      CHECK(std::isnan(block.scaled_sum) == is_nan);
      if (is_nan) {
        CHECK(std::isnan(block.scaled_half_sums[0]));
        CHECK(std::isnan(block.scaled_half_sums[1]));
        continue;
      }
      CHECK(std::memcmp(&block, &expected[b], sizeof block) == 0);
    }
    for (const llmh_dtype dtype : packed_types()) {
      const int64_t width = 256;
      const Packed w(kernels.packed.by_dtype[dtype], dtype, random_blocks(dtype, 16, width, 16), 16, width);
      const std::vector<float> part(x.begin(), x.begin() + width);
      for (const float value : multiply(w, quantise(kernels.packed, part, width), 1, {}))
        CHECK(std::isnan(value));
    }
  }
}

}  // namespace llmhost::test
