// Packed weights: nothing is lost by packing, and products are those of packed_reference.h to the bit,
// whatever the shape and the instruction set.
#include <doctest/doctest.h>

#include <cmath>
#include <cstring>

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

}  // namespace llmhost::test
