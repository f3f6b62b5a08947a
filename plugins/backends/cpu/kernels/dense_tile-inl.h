// A tile of some rows of x and four rows of the weight, or eight, whose accumulators live in registers.
#if defined(LLMHOST_CPU_DENSE_TILE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LLMHOST_CPU_DENSE_TILE_INL_H_
#undef LLMHOST_CPU_DENSE_TILE_INL_H_
#else
#define LLMHOST_CPU_DENSE_TILE_INL_H_
#endif

#include <algorithm>
#include <cstring>

#include "hwy/cache_control.h"
#include "hwy/highway.h"
#include "kernels/dense-inl.h"
#include "kernels/kernels.h"

HWY_BEFORE_NAMESPACE();
namespace llmhost::cpu::HWY_NAMESPACE {
namespace {

// Rows of x in a tile: 24 accumulators where there are 32 registers, 12 or 8 where there are 16.
#if HWY_TARGET == HWY_AVX3 || HWY_ARCH_ARM_A64
constexpr int kTileTokens = 6;
#elif HWY_TARGET == HWY_AVX2
constexpr int kTileTokens = 3;
#else
constexpr int kTileTokens = 2;
#endif

constexpr int64_t kRowAhead = 1024;  // of one of eight

HWY_INLINE int64_t row_of(const int32_t* rows, int64_t token) {
  return rows == nullptr ? token : rows[token];
}

template <class Product>
HWY_INLINE const uint8_t* x_at(const LinearTile& tile, int64_t token) {
  return static_cast<const uint8_t*>(tile.x) + row_of(tile.x_rows, token) * tile.x_stride * Product::kXBytes;
}

template <class Product>
HWY_INLINE const uint8_t* w_at(const LinearTile& tile, int64_t row) {
  return static_cast<const uint8_t*>(tile.w) + row * tile.w_stride * Product::kWBytes;
}

// Four sums, or as many as there are rows left, to y.
HWY_INLINE void store_quad(const LinearTile& tile, const float* sums, int64_t token, int64_t row) {
  float* y = tile.y + row_of(tile.y_rows, token) * tile.y_stride + row;
  const int64_t rows = std::min<int64_t>(kQuad, tile.rows - row);
#if HWY_TARGET != HWY_SCALAR
  if (rows == kQuad) {
    const hn::FixedTag<float, kQuad> d;
    auto total = hn::LoadU(d, sums);
    if (tile.bias != nullptr) total = hn::Add(total, hn::LoadU(d, tile.bias + row));
    hn::StoreU(total, d, y);
    return;
  }
#endif
  for (int64_t r = 0; r < rows; ++r) y[r] = tile.bias == nullptr ? sums[r] : sums[r] + tile.bias[row + r];
}

// body(0) .. body(n - 1), unrolled before arrays of vectors are given their registers.
template <int n, class Body>
HWY_INLINE void each(const Body& body) {
  if constexpr (n > 0) {
    each<n - 1>(body);
    body(n - 1);
  }
}
#define LLMHOST_CPU_INLINED HWY_ATTR __attribute__((always_inline))

// Where a part of the depth begins with the accumulators that the part before it left, and leaves its own.
struct Kept {
  float* sums = nullptr;  // kTileTokens * kQuad vectors
  bool is_first = true;
  bool is_last = true;
};

// kTokens rows of x and kQuads times four of the weight. Rows beyond the last are read as the last one and
// not stored.
template <class Product, int kTokens, int kQuads, bool kPrefetch>
HWY_INLINE void multiply_tile(const LinearTile& tile, int64_t token, int64_t row, const Kept& kept = {}) {
  constexpr int kRows = kQuads * kQuad;
  const uint8_t* x[kTokens];
  const uint8_t* w[kRows];
  Floats sum[kTokens * kQuads][kQuad];
  each<kTokens>([&](int t) LLMHOST_CPU_INLINED { x[t] = x_at<Product>(tile, token + t); });
  each<kRows>([&](int r) LLMHOST_CPU_INLINED {
    w[r] = w_at<Product>(tile, std::min(row + r, tile.rows - 1));
    each<kTokens>([&](int t)
                      LLMHOST_CPU_INLINED { sum[t * kQuads + r / kQuad][r % kQuad] = hn::Zero(F32()); });
  });
  if (!kept.is_first) {
    each<kTokens>([&](int t) LLMHOST_CPU_INLINED {
      each<kRows>([&](int r) LLMHOST_CPU_INLINED {
        sum[t * kQuads + r / kQuad][r % kQuad] = hn::LoadU(F32(), kept.sums + (t * kRows + r) * kLanes);
      });
    });
  }

  int64_t k = 0;
  for (; k + Product::kStep <= tile.depth; k += Product::kStep) {
    typename Product::Value weights[kRows];
    each<kRows>([&](int r) LLMHOST_CPU_INLINED {
      const uint8_t* at = w[r] + k * Product::kWBytes;
      if constexpr (kPrefetch) hwy::Prefetch(at + kRowAhead);
      weights[r] = Product::load_w(at);
    });
    each<kTokens>([&](int t) LLMHOST_CPU_INLINED {
      const auto value = Product::load_x(x[t] + k * Product::kXBytes);
      each<kRows>([&](int r) LLMHOST_CPU_INLINED {
        Product::add(sum[t * kQuads + r / kQuad][r % kQuad], value, weights[r]);
      });
    });
  }
  if (k < tile.depth) {
    const int64_t rest = tile.depth - k;
    each<kRows>([&](int r) LLMHOST_CPU_INLINED {
      const auto weights =
          Product::load_w(Padded<Product::kStep, Product::kWBytes>(w[r] + k * Product::kWBytes, rest).bytes);
      each<kTokens>([&](int t) LLMHOST_CPU_INLINED {
        const Padded<Product::kStep, Product::kXBytes> values(x[t] + k * Product::kXBytes, rest);
        Product::add(sum[t * kQuads + r / kQuad][r % kQuad], Product::load_x(values.bytes), weights);
      });
    });
  }

  if (!kept.is_last) {
    each<kTokens>([&](int t) LLMHOST_CPU_INLINED {
      each<kRows>([&](int r) LLMHOST_CPU_INLINED {
        hn::StoreU(sum[t * kQuads + r / kQuad][r % kQuad], F32(), kept.sums + (t * kRows + r) * kLanes);
      });
    });
    return;
  }
  float sums[kTokens * kRows + kLanes];
  sum_quads<kTokens * kQuads>(sum, sums);
  for (int t = 0; t < kTokens; ++t)
    for (int q = 0; q < kQuads; ++q)
      if (row + q * kQuad < tile.rows)
        store_quad(tile, sums + (t * kQuads + q) * kQuad, token + t, row + q * kQuad);
}

}  // namespace
}  // namespace llmhost::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
