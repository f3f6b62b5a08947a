// Kernels of dense weights, called directly on every instruction set. Needs the kernels alone, so that it
// runs for other machines too (cmake/cross).
#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "instance.h"
#include "kernels/half.h"
#include "llmhost/plugin.hpp"

namespace llmhost::cpu {
namespace {

std::vector<Kernels> all_kernels() {
  std::vector<Kernels> result;
  for (const char* name : {"avx3", "avx2", "sse4", "emu128", "scalar", "neon"}) {
    try {
      result.push_back(choose_kernels(name));
    } catch (const llmh::Error&) {
      continue;  // not on this machine
    }
  }
  return result;
}

enum class Kind { kF32, kF16, kBf16, kBf16Native };
constexpr Kind kKinds[] = {Kind::kF32, Kind::kF16, Kind::kBf16, Kind::kBf16Native};

void (*kernel_of(const DenseKernels& table, Kind kind))(const LinearTile&) {
  switch (kind) {
    case Kind::kF32:
      return table.f32;
    case Kind::kF16:
      return table.f16;
    case Kind::kBf16:
      return table.bf16;
    default:
      return table.bf16_native;
  }
}

// Numbers of a kernel's types at an address that is no multiple of anything, and their values.
struct Numbers {
  Numbers(Kind kind, bool are_weights, size_t n, uint32_t seed) : values(n) {
    std::minstd_rand engine(seed);
    std::uniform_real_distribution<float> uniform(-1.0F, 1.0F);
    const bool is_f32 = kind == Kind::kF32 || (!are_weights && kind != Kind::kBf16Native);
    const size_t size = is_f32 ? 4 : 2;
    bytes.resize(n * size + 1);
    for (size_t i = 0; i < n; ++i) {
      values[i] = uniform(engine);
      uint16_t half = 0;
      if (!is_f32) {
        half = kind == Kind::kF16 ? f32_to_f16(values[i]) : f32_to_bf16(values[i]);
        values[i] = kind == Kind::kF16 ? f16_to_f32(half) : bf16_to_f32(half);
      }
      std::memcpy(&bytes[1 + i * size], is_f32 ? static_cast<const void*>(&values[i]) : &half, size);
    }
  }
  const void* data() const { return &bytes[1]; }
  std::vector<uint8_t> bytes;
  std::vector<float> values;
};

struct Problem {
  Problem(Kind kind, int64_t n_tokens, int64_t n_rows, int64_t n_depth)
      : tokens(n_tokens),
        rows(n_rows),
        depth(n_depth),
        x(kind, false, static_cast<size_t>(n_tokens * (n_depth + 3)), 1),
        w(kind, true, static_cast<size_t>(n_rows * n_depth), 2),
        bias(kind == Kind::kF16 ? static_cast<size_t>(n_rows) : 0, 0.25F),
        y(static_cast<size_t>(n_tokens * n_rows)) {}

  LinearTile tile() {
    LinearTile t{};
    t.x = x.data();
    t.w = w.data();
    t.bias = bias.empty() ? nullptr : bias.data();
    t.y = y.data();
    t.x_stride = depth + 3;
    t.w_stride = depth;
    t.y_stride = rows;
    t.tokens = tokens;
    t.rows = rows;
    t.depth = depth;
    return t;
  }

  // Each output in a call of its own.
  std::vector<float> one_by_one(void (*multiply)(const LinearTile&), Kind kind) {
    std::vector<float> result(y.size());
    const int64_t x_bytes = kind == Kind::kBf16Native ? 2 : 4;
    const int64_t w_bytes = kind == Kind::kF32 ? 4 : 2;
    for (int64_t t = 0; t < tokens; ++t) {
      for (int64_t r = 0; r < rows; ++r) {
        LinearTile one = tile();
        one.x = static_cast<const uint8_t*>(one.x) + t * one.x_stride * x_bytes;
        one.w = static_cast<const uint8_t*>(one.w) + r * depth * w_bytes;
        if (one.bias != nullptr) one.bias += r;
        one.y = &result[static_cast<size_t>(t * rows + r)];
        one.tokens = one.rows = 1;
        multiply(one);
      }
    }
    return result;
  }

  int64_t tokens, rows, depth;
  Numbers x, w;
  std::vector<float> bias, y;
};

bool same_bytes(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

}  // namespace

// |error| <= 4 sqrt(K) 2^-24 sum |x w|: a random walk of K roundings, factor 4 for certainty. The values of x
// and w are those stored, so rounding to bf16 is no part of it.
TEST_CASE("dense kernels against sums in double precision") {
  for (const Kernels& kernels : all_kernels()) {
    for (const Kind kind : kKinds) {
      const auto multiply = kernel_of(kernels.dense, kind);
      if (multiply == nullptr) continue;
      for (const int64_t depth : {0, 1, 15, 33, 64, 257, 2048, 7000}) {
        CAPTURE(kernels.isa);
        CAPTURE(static_cast<int>(kind));
        CAPTURE(depth);
        Problem p(kind, 8, 7, depth);
        multiply(p.tile());
        int wrong = 0;
        for (int64_t t = 0; t < p.tokens; ++t) {
          for (int64_t r = 0; r < p.rows; ++r) {
            double sum = p.bias.empty() ? 0.0 : 0.25;
            double size = sum;
            for (int64_t k = 0; k < depth; ++k) {
              const double term = static_cast<double>(p.x.values[static_cast<size_t>(t * (depth + 3) + k)]) *
                                  static_cast<double>(p.w.values[static_cast<size_t>(r * depth + k)]);
              sum += term;
              size += std::abs(term);
            }
            const double bound = 4 * std::sqrt(static_cast<double>(depth) + 1) * 0x1p-24 * size + 1e-30;
            if (!(std::abs(static_cast<double>(p.y[static_cast<size_t>(t * p.rows + r)]) - sum) <= bound))
              ++wrong;
          }
        }
        CHECK(wrong == 0);
      }
    }
  }
}

TEST_CASE("dense kernels give an output the same bits whatever is computed beside it") {
  for (const Kernels& kernels : all_kernels()) {
    for (const Kind kind : kKinds) {
      const auto multiply = kernel_of(kernels.dense, kind);
      if (multiply == nullptr) continue;
      for (const int64_t depth : {70, 576, 3001}) {
        for (const int64_t rows : {1, 3, 4, 9, 37}) {
          Problem all(kind, 20, rows, depth);
          const std::vector<float> expected = all.one_by_one(multiply, kind);
          for (int64_t tokens = 1; tokens <= 20; ++tokens) {
            for (const bool cached : {false, true}) {
              CAPTURE(kernels.isa);
              CAPTURE(static_cast<int>(kind));
              CAPTURE(depth);
              CAPTURE(rows);
              CAPTURE(tokens);
              LinearTile tile = all.tile();
              tile.tokens = tokens;
              tile.w_cached = cached;
              std::fill(all.y.begin(), all.y.end(), -1.0F);
              multiply(tile);
              CHECK(std::memcmp(all.y.data(), expected.data(),
                                static_cast<size_t>(tokens * rows) * sizeof(float)) == 0);
            }
          }
        }
      }
    }
  }
}

TEST_CASE("dense kernels with listed rows, and with more than a block of them") {
  for (const Kernels& kernels : all_kernels()) {
    for (const Kind kind : kKinds) {
      const auto multiply = kernel_of(kernels.dense, kind);
      if (multiply == nullptr) continue;
      CAPTURE(kernels.isa);
      CAPTURE(static_cast<int>(kind));
      Problem p(kind, 101, 10, 2064);
      const std::vector<float> expected = p.one_by_one(multiply, kind);
      multiply(p.tile());
      CHECK(same_bytes(p.y, expected));

      std::vector<int32_t> x_rows, y_rows;
      std::vector<float> permuted(p.y.size());
      for (int32_t t = 0; t < 101; ++t) {
        x_rows.push_back(t * 7 % 101);
        y_rows.push_back((t * 5 + 3) % 101);
        std::memcpy(&permuted[static_cast<size_t>(y_rows.back()) * 10],
                    &expected[static_cast<size_t>(x_rows.back()) * 10], 40);
      }
      LinearTile tile = p.tile();
      tile.x_rows = x_rows.data();
      tile.y_rows = y_rows.data();
      multiply(tile);
      CHECK(same_bytes(p.y, permuted));
    }
  }
}

TEST_CASE("dense kernels with several panels of rows and slices of the depth") {
  for (const Kernels& kernels : all_kernels()) {
    for (const Kind kind : kKinds) {
      const auto multiply = kernel_of(kernels.dense, kind);
      if (multiply == nullptr) continue;
      for (const int64_t depth : {200, 3001, 5632}) {
        CAPTURE(kernels.isa);
        CAPTURE(static_cast<int>(kind));
        CAPTURE(depth);
        Problem p(kind, 15, 150, depth);
        multiply(p.tile());
        CHECK(same_bytes(p.y, p.one_by_one(multiply, kind)));
      }
    }
  }
}

TEST_CASE("dense kernels convert every finite f16 and bf16 exactly") {
  constexpr size_t kDepth = 64;
  std::vector<uint16_t> w(65536 * kDepth);
  std::vector<float> x(kDepth), y(65536);
  x[0] = 1.0F;
  for (const Kernels& kernels : all_kernels()) {
    for (const bool is_f16 : {true, false}) {
      const uint32_t exponent = is_f16 ? 0x7C00U : 0x7F80U;
      for (uint32_t i = 0; i < 65536; ++i)
        w[i * kDepth] = static_cast<uint16_t>((i & exponent) == exponent ? 0 : i);
      LinearTile tile{};
      tile.x = x.data();
      tile.w = w.data();
      tile.y = y.data();
      tile.x_stride = tile.w_stride = tile.depth = kDepth;
      tile.y_stride = tile.rows = 65536;
      tile.tokens = 1;
      (is_f16 ? kernels.dense.f16 : kernels.dense.bf16)(tile);
      int wrong = 0;
      for (size_t i = 0; i < 65536; ++i) {
        const uint16_t bits = w[i * kDepth];
        if (y[i] != (is_f16 ? f16_to_f32(bits) : bf16_to_f32(bits))) ++wrong;
      }
      CAPTURE(kernels.isa);
      CHECK(wrong == 0);
    }
  }
}

TEST_CASE("round_bf16 rounds to nearest even like the scalar conversion") {
  std::vector<float> x = {0.0F,
                          -0.0F,
                          1.0F,
                          1.00390625F,
                          1.01171875F,
                          3.4e38F,
                          1e-40F,
                          std::numeric_limits<float>::infinity(),
                          -std::numeric_limits<float>::infinity()};
  std::minstd_rand engine(5);
  while (x.size() < 1003) {
    const auto bits = static_cast<uint32_t>(engine() * 7919U);
    x.push_back(std::bit_cast<float>(bits));  // NaN among them
  }
  for (const Kernels& kernels : all_kernels()) {
    CAPTURE(kernels.isa);
    std::vector<uint16_t> rounded(x.size());
    kernels.dense.round_bf16(x.data(), static_cast<int64_t>(x.size()), rounded.data());
    int wrong = 0;
    for (size_t i = 0; i < x.size(); ++i)
      if (rounded[i] != f32_to_bf16(x[i])) ++wrong;
    CHECK(wrong == 0);
  }
}

}  // namespace llmhost::cpu
