// Products with dense weights in place. Many rows of x are multiplied in panels. Few rows of x are multiplied
// with one row of the weight after another instead, so that memory is read as one stream: several at a time,
// of rows shorter than a page, defeat the prefetchers.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/dense.cpp"
#include "hwy/cache_control.h"
#include "hwy/foreach_target.h"  // must come before highway.h
#include "hwy/highway.h"
#include "kernels/dense_panel-inl.h"
#include "kernels/half.h"
#include "kernels/kernels.h"

HWY_BEFORE_NAMESPACE();
namespace llmhost::cpu::HWY_NAMESPACE {
namespace {

constexpr int64_t kFewBytes = 36 * 1024;          // of x that stay in the first-level cache beside a stream
constexpr int64_t kStreamAhead = 8 * 1024;        // bytes between use and prefetch of one stream
constexpr int64_t kLongRow = 12 * 1024;           // bytes; one accumulator's additions are slower than memory
constexpr int64_t kBlockBytes = 4 * 1024 * 1024;  // of x; a share of the third-level cache
constexpr int64_t kFewTiles = 2;                  // that do not outweigh reading the weight as one stream

// kTokens rows of x and one of the weight; sums[t][column] receives the accumulators.
template <class Product, int kTokens>
HWY_INLINE void multiply_row(const LinearTile& tile, int64_t row, Floats (*sums)[kQuad], int64_t column) {
  constexpr int kVectors = std::max<int>(1, kCacheLine / (Product::kStep * Product::kWBytes));
  const int64_t depth = tile.depth;
  const uint8_t* w = w_at<Product>(tile, row);
  const uint8_t* x[kTokens];
  Floats sum[kTokens];
  each<kTokens>([&](int t) LLMHOST_CPU_INLINED {
    x[t] = x_at<Product>(tile, t);
    sum[t] = hn::Zero(F32());
  });
  const auto step = [&](int64_t k) LLMHOST_CPU_INLINED {
    const auto weights = Product::load_w(w + k * Product::kWBytes);
    each<kTokens>([&](int t) LLMHOST_CPU_INLINED {
      Product::add(sum[t], Product::load_x(x[t] + k * Product::kXBytes), weights);
    });
  };
  int64_t k = 0;
  if constexpr (kVectors <= 4) {
    for (; k + kVectors * Product::kStep <= depth; k += kVectors * Product::kStep) {
      hwy::Prefetch(w + k * Product::kWBytes + kStreamAhead);
      each<kVectors>([&](int v) LLMHOST_CPU_INLINED { step(k + v * Product::kStep); });
    }
  }
  for (; k + Product::kStep <= depth; k += Product::kStep) step(k);
  if (k < depth) {
    const auto weights =
        Product::load_w(Padded<Product::kStep, Product::kWBytes>(w + k * Product::kWBytes, depth - k).bytes);
    each<kTokens>([&](int t) LLMHOST_CPU_INLINED {
      const Padded<Product::kStep, Product::kXBytes> values(x[t] + k * Product::kXBytes, depth - k);
      Product::add(sum[t], Product::load_x(values.bytes), weights);
    });
  }
  each<kTokens>([&](int t) LLMHOST_CPU_INLINED { sums[t][column] = sum[t]; });
}

template <class Product, int kTokens>
void stream_rows(const LinearTile& tile) {
  for (int64_t row = 0; row < tile.rows; row += kQuad) {
    Floats sum[kTokens][kQuad];
    for (auto& quad : sum)
      for (auto& one : quad) one = hn::Zero(F32());
    for (int64_t r = 0; r < std::min<int64_t>(kQuad, tile.rows - row); ++r)
      multiply_row<Product, kTokens>(tile, row + r, sum, r);
    float sums[kTokens * kQuad + kLanes];
    sum_quads<kTokens>(sum, sums);
    for (int t = 0; t < kTokens; ++t) store_quad(tile, sums + t * kQuad, t, row);
  }
}

// All rows of the weight in tiles, for few rows of x.
template <class Product, int kTokens, int kQuads, bool kPrefetch>
void multiply_tiles(const LinearTile& tile) {
  for (int64_t row = 0; row < tile.rows; row += kQuads * kQuad)
    multiply_tile<Product, kTokens, kQuads, kPrefetch>(tile, 0, row);
}

// Few rows of x, at most kMost.
template <class Product, int kMost>
void multiply_few(const LinearTile& tile) {
  if constexpr (kMost == 1) {
    if (tile.w_cached) return multiply_tiles<Product, 1, 2, false>(tile);
    if (tile.depth * Product::kWBytes > kLongRow) return multiply_tiles<Product, 1, 2, true>(tile);
    stream_rows<Product, 1>(tile);
  } else {
    if (tile.tokens < kMost) return multiply_few<Product, kMost - 1>(tile);
    const bool x_stays = kMost * tile.depth * Product::kXBytes <= kFewBytes;
    if (tile.w_cached || !x_stays) return multiply_tiles<Product, kMost, 1, true>(tile);
    stream_rows<Product, kMost>(tile);
  }
}

// All rows of the weight with a few tiles of x, which stay in the second-level cache.
template <class Product>
void multiply_few_tiles(const LinearTile& tile) {
  const int64_t passes = (tile.tokens + kTileTokens - 1) / kTileTokens;
  const int64_t quad_bytes = kQuad * tile.w_stride * Product::kWBytes;
  const int64_t lines = tile.w_cached ? 0 : (quad_bytes / passes + kCacheLine - 1) / kCacheLine;
  for (int64_t row = 0; row < tile.rows; row += kQuad) {
    const uint8_t* next = w_at<Product>(tile, row + kQuad);
    for (int64_t token = 0; token < tile.tokens; token += kTileTokens) {
      for (int64_t i = 0; i < lines; ++i, next += kCacheLine) hwy::Prefetch(next);
      const int64_t end = std::min(tile.tokens, token + kTileTokens);
      multiply_tokens<Product, kTileTokens>(tokens_of<Product>(tile, token, end), row, {});
    }
  }
}

template <class Product>
void multiply(const LinearTile& tile) {
  if (tile.tokens <= 0) return;
  if (tile.tokens <= kTileTokens) return multiply_few<Product, kTileTokens>(tile);
  if (tile.tokens <= kFewTiles * kTileTokens) return multiply_few_tiles<Product>(tile);
  const int64_t row_bytes = std::max<int64_t>(1, tile.depth * Product::kXBytes);
  const int64_t block = std::max<int64_t>(1, kBlockBytes / row_bytes / kTileTokens) * kTileTokens;
  for (int64_t token = 0; token < tile.tokens; token += block)
    multiply_panels<Product>(tokens_of<Product>(tile, token, std::min(tile.tokens, token + block)));
}

void round_bf16(const float* x, int64_t n, uint16_t* out) {
  int64_t i = 0;
#if HWY_TARGET != HWY_SCALAR
  const hn::Rebind<uint32_t, F32> wide;
  const hn::Rebind<uint16_t, F32> narrow;
  for (; i + kLanes <= n; i += kLanes) {
    const auto value = hn::LoadU(F32(), x + i);
    const auto bits = hn::BitCast(wide, value);
    const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(wide, 1U));
    const auto rounded = hn::Add(hn::Add(bits, hn::Set(wide, 0x7FFFU)), odd);
    const auto quiet = hn::Or(bits, hn::Set(wide, 0x400000U));
    const auto is_nan = hn::RebindMask(wide, hn::IsNaN(value));
    const auto high = hn::ShiftRight<16>(hn::IfThenElse(is_nan, quiet, rounded));
    hn::StoreU(hn::DemoteTo(narrow, hn::BitCast(hn::Rebind<int32_t, F32>(), high)), narrow, out + i);
  }
#endif
  for (; i < n; ++i) out[i] = f32_to_bf16(x[i]);
}

DenseKernels dense_table() {
  DenseKernels t{multiply<WithF32<StoredF32>>, multiply<WithF32<StoredF16>>, multiply<WithF32<StoredBf16>>,
                 nullptr, round_bf16};
#if HWY_TARGET == HWY_AVX3
  t.bf16_native = multiply<WithBf16>;
#endif
  return t;
}

}  // namespace
}  // namespace llmhost::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include <chrono>
#include <memory>

namespace llmhost::cpu {
HWY_EXPORT(dense_table);
namespace {

double least_seconds(void (*multiply)(const LinearTile&), const LinearTile& tile) {
  double least = 1;
  for (int i = 0; i < 16; ++i) {
    const auto start = std::chrono::steady_clock::now();
    multiply(tile);
    least = std::min(least, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  return least;
}

// There are CPUs whose bf16 products run at half the speed of f32. Their weights are in the first-level cache
// here; the margin is wide enough for the answer to be the same each time.
bool is_native_bf16_faster(const DenseKernels& table) {
#if HWY_ARCH_X86
  if (__builtin_cpu_supports("avx512bf16") == 0) return false;
#endif
  constexpr int64_t kDepth = 512, kTokens = 12, kRows = 16;
  struct alignas(64) Numbers {
    float x[kTokens * kDepth], y[kTokens * kRows];
    uint16_t w[kRows * kDepth], rounded[kTokens * kDepth];
  };
  const auto numbers = std::make_unique<Numbers>();  // zeros
  LinearTile tile{};
  tile.x = numbers->x;
  tile.w = numbers->w;
  tile.y = numbers->y;
  tile.x_stride = tile.w_stride = tile.depth = kDepth;
  tile.y_stride = tile.rows = kRows;
  tile.tokens = kTokens;
  const double converted = least_seconds(table.bf16, tile);
  tile.x = numbers->rounded;
  return least_seconds(table.bf16_native, tile) * 1.2 < converted;
}

}  // namespace

DenseKernels dense_kernels() {
  DenseKernels table = HWY_DYNAMIC_DISPATCH(dense_table)();
  if (table.bf16_native == nullptr) return table;
  static const bool is_faster = is_native_bf16_faster(table);
  if (!is_faster) table.bf16_native = nullptr;
  return table;
}
}  // namespace llmhost::cpu
#endif
