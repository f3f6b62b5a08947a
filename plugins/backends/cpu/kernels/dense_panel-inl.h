// Many rows of x. A panel of the weight stays in the second-level cache while all of x goes by, a slice of
// the depth of one tile's rows at a time, which stays in the first-level cache while the panel goes by.
// Between slices the tile's accumulators wait in memory as whole vectors, so that no output's order of
// additions depends on slices.
#if defined(LLMHOST_CPU_DENSE_PANEL_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LLMHOST_CPU_DENSE_PANEL_INL_H_
#undef LLMHOST_CPU_DENSE_PANEL_INL_H_
#else
#define LLMHOST_CPU_DENSE_PANEL_INL_H_
#endif

#include <algorithm>
#include <cstring>

#include "hwy/cache_control.h"
#include "hwy/highway.h"
#include "kernels/dense_tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace llmhost::cpu::HWY_NAMESPACE {
namespace {

constexpr int64_t kCacheLine = 64;
constexpr int64_t kPanelBytes = 512 * 1024;  // of the weight in the second-level cache, beside the next ones
constexpr int64_t kPanelRows = 128;          // at most, so that their accumulators fit on the stack
constexpr int64_t kSliceBytes = 3 * 1024;    // of a row of x

template <class Product>
LinearTile tokens_of(const LinearTile& tile, int64_t begin, int64_t end) {
  LinearTile part = tile;
  part.tokens = end - begin;
  if (tile.x_rows != nullptr)
    part.x_rows += begin;
  else
    part.x = x_at<Product>(tile, begin);
  if (tile.y_rows != nullptr)
    part.y_rows += begin;
  else
    part.y += begin * tile.y_stride;
  return part;
}

template <class Product>
LinearTile rows_of(const LinearTile& tile, int64_t begin, int64_t end) {
  LinearTile part = tile;
  part.rows = end - begin;
  part.w = w_at<Product>(tile, begin);
  part.y += begin;
  if (tile.bias != nullptr) part.bias += begin;
  return part;
}

template <class Product, int kMost>
HWY_INLINE void multiply_tokens(const LinearTile& tile, int64_t row, const Kept& kept) {
  if constexpr (kMost > 0) {
    if (tile.tokens == kMost) return multiply_tile<Product, kMost, 1, false>(tile, 0, row, kept);
    multiply_tokens<Product, kMost - 1>(tile, row, kept);
  }
}

// A slice of one tile's rows of x, one row after the other: rows far apart by a power of two would share a
// few sets of the first-level cache.
template <class Product>
class Slice {
 public:
  static constexpr int64_t kDepth = kSliceBytes / Product::kXBytes / Product::kStep * Product::kStep;

  // Where the slice that begins at k ends; the last is up to half as long again.
  static int64_t end_of(int64_t k, int64_t depth) { return depth - k < kMost ? depth : k + kDepth; }

  // The tile's product over that slice alone.
  LinearTile pack(const LinearTile& tile, int64_t k) {
    LinearTile part = tile;
    part.depth = end_of(k, tile.depth) - k;
    for (int64_t t = 0; t < tile.tokens; ++t)
      std::memcpy(bytes_ + t * kStride * Product::kXBytes, x_at<Product>(tile, t) + k * Product::kXBytes,
                  static_cast<size_t>(part.depth * Product::kXBytes));
    part.x = bytes_;
    part.x_rows = nullptr;
    part.x_stride = kStride;
    part.w = static_cast<const uint8_t*>(tile.w) + k * Product::kWBytes;
    return part;
  }

  // A row of what pack() will copy, to the second-level cache.
  static void prefetch(const LinearTile& tile, int64_t k, int64_t token) {
    if (token >= tile.tokens) return;
    const uint8_t* x = x_at<Product>(tile, token) + k * Product::kXBytes;
    const int64_t bytes = std::min(kDepth, tile.depth - k) * Product::kXBytes;
    for (int64_t i = 0; i < bytes; i += kCacheLine) __builtin_prefetch(x + i, 0, 2);
  }

 private:
  static constexpr int64_t kMost = kDepth + kDepth / 2;
  static constexpr int64_t kStride = kMost + kCacheLine / Product::kXBytes;
  alignas(kCacheLine) uint8_t bytes_[kTileTokens * kStride * Product::kXBytes];
};

// Lines of the next panel, fetched a few at a time.
struct Ahead {
  const uint8_t* next;
  const uint8_t* end;
  int64_t lines;

  HWY_INLINE void fetch() {
    for (int64_t i = 0; i < lines && next < end; ++i, next += kCacheLine) hwy::Prefetch(next);
  }
};

template <class Product>
Ahead ahead_of(const LinearTile& tile, int64_t begin, int64_t end) {
  const int64_t tiles = (tile.tokens + kTileTokens - 1) / kTileTokens;
  const int64_t slices = std::max<int64_t>(1, tile.depth / Slice<Product>::kDepth);
  const int64_t steps = tiles * slices * std::max<int64_t>(1, (end - begin) / kQuad);
  const uint8_t* from = w_at<Product>(tile, begin);
  const uint8_t* to = tile.w_cached ? from : w_at<Product>(tile, end);
  return {from, to, ((to - from) / kCacheLine + steps - 1) / steps};
}

// One tile's rows of x with all rows of a panel; `follow` is the next tile.
template <class Product>
void multiply_panel(const LinearTile& tile, const LinearTile& follow, Ahead& ahead) {
  constexpr int64_t kQuadFloats = kTileTokens * kQuad * kLanes;
  alignas(kCacheLine) float kept[kPanelRows / kQuad * kQuadFloats];
  Slice<Product> slice;
  int64_t k = 0;
  do {
    const LinearTile part = slice.pack(tile, k);
    const int64_t end = k + part.depth;
    const bool is_last = end == tile.depth;
    for (int64_t quad = 0; quad * kQuad < tile.rows; ++quad) {
      Slice<Product>::prefetch(is_last ? follow : tile, is_last ? 0 : end, quad);
      ahead.fetch();
      multiply_tokens<Product, kTileTokens>(part, quad * kQuad, {kept + quad * kQuadFloats, k == 0, is_last});
    }
    k = end;
  } while (k < tile.depth);
}

template <class Product>
void multiply_panels(const LinearTile& tile) {
  const int64_t row_bytes = std::max<int64_t>(1, tile.w_stride * Product::kWBytes);
  const int64_t rows = std::clamp<int64_t>(kPanelBytes / row_bytes / kQuad * kQuad, kQuad, kPanelRows);
  const auto tokens_from = [&](const LinearTile& panel, int64_t begin) {
    return tokens_of<Product>(panel, std::min(begin, tile.tokens),
                              std::min(begin + kTileTokens, tile.tokens));
  };
  for (int64_t row = 0; row < tile.rows; row += rows) {
    const int64_t end = std::min(row + rows, tile.rows);
    const LinearTile panel = rows_of<Product>(tile, row, end);
    Ahead ahead = ahead_of<Product>(tile, end, std::min(end + rows, tile.rows));
    LinearTile current = tokens_from(panel, 0);
    for (int64_t token = kTileTokens; current.tokens > 0; token += kTileTokens) {
      const LinearTile next = tokens_from(panel, token);
      multiply_panel<Product>(current, next, ahead);
      current = next;
    }
  }
}

}  // namespace
}  // namespace llmhost::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
