// Tiles of outputs: kVectors vectors of rows times kTokens rows of activations, over any format of weights.
//
// A format says how a block of 16 packed rows is read:
//   kBlock, kBytes   elements and bytes of a block
//   kOffset          what is subtracted from its codes; kMaxCode is the greatest code
//   kHalves          scales for each 32 elements: 1, or 2 for 16 each
//   kMinima          whether a minimum is added with each scale
//   Header(block, lane)     reads what is decoded once for a block, for the rows from `lane`;
//   .scales(sub)            gives the scales of elements [32 sub, 32 sub + 32)
//   codes(block, sub, step, lane, low, high)
//                    the codes of elements 32 sub + 4 step + [0, 4), and of those 16 further on
#if defined(LLMHOST_CPU_PACKED_TILE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LLMHOST_CPU_PACKED_TILE_INL_H_
#undef LLMHOST_CPU_PACKED_TILE_INL_H_
#else
#define LLMHOST_CPU_PACKED_TILE_INL_H_
#endif

#include <algorithm>
#include <array>
#include <utility>

#include "kernels/packed_dot-inl.h"
#include "kernels/packed_planes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace llmhost::cpu::HWY_NAMESPACE {
namespace {

constexpr int kFetchAhead = 4096;
constexpr int64_t kCachedBytes = 512 * 1024;

HWY_INLINE int64_t packed_row_of(const int32_t* rows, int64_t token) {
  return rows == nullptr ? token : rows[token];
}

template <class Format, int kVectors, int kTokens>
struct Tile {
  const uint8_t* w[kVectors];  // blocks of the groups
  int lane[kVectors];          // the first row within the group
  const ActivationBlock* x[kTokens];
  Floats acc[kVectors][kTokens];

  HWY_INLINE void place(const PackedTile& job, int64_t row, int64_t token) {
    const int64_t group_bytes = job.depth / Format::kBlock * Format::kBytes;
    for (int v = 0; v < kVectors; ++v) {
      w[v] = job.weights + (row + v * kLanes) / kPackedRows * group_bytes;
      lane[v] = static_cast<int>((row + v * kLanes) % kPackedRows);
    }
    for (int t = 0; t < kTokens; ++t)
      x[t] = reinterpret_cast<const ActivationBlock*>(job.x +
                                                      packed_row_of(job.x_rows, token + t) * job.x_stride);
  }

  HWY_INLINE void add_sub_block(int sub, const Scales<Format::kHalves> (&scales)[kVectors]) {
    BlockDot<Format> dot[kVectors][kTokens];
#pragma GCC unroll 16
    for (int t = 0; t < kTokens; ++t)
#pragma GCC unroll 16
      for (int v = 0; v < kVectors; ++v) dot[v][t].start(*x[t]);
#pragma GCC unroll 4
    for (int step = 0; step < 4; ++step) {
      Codes<Format> low[kVectors], high[kVectors];
#pragma GCC unroll 16
      for (int v = 0; v < kVectors; ++v) {
        Bytes low_codes, high_codes;
        Format::codes(w[v], sub, step, lane[v], low_codes, high_codes);
        low[v].set(low_codes);
        high[v].set(high_codes);
      }
#pragma GCC unroll 16
      for (int t = 0; t < kTokens; ++t) {
        const Bytes values = fill_words(x[t]->q + 4 * step);
#pragma GCC unroll 16
        for (int v = 0; v < kVectors; ++v) dot[v][t].add_low(step, low[v], values);
      }
#pragma GCC unroll 16
      for (int t = 0; t < kTokens; ++t) {
        const Bytes values = fill_words(x[t]->q + 16 + 4 * step);
#pragma GCC unroll 16
        for (int v = 0; v < kVectors; ++v) dot[v][t].add_high(step, high[v], values);
      }
    }
#pragma GCC unroll 16
    for (int t = 0; t < kTokens; ++t)
#pragma GCC unroll 16
      for (int v = 0; v < kVectors; ++v) acc[v][t] = dot[v][t].add_to(acc[v][t], scales[v], *x[t]);
  }

  // The processor's own prefetching stops at the end of each page; too many requests at once are dropped.
  static HWY_INLINE void fetch_ahead(const uint8_t* block, int sub) {
    constexpr int kPart = Format::kBytes / (Format::kBlock / kActivationBlock);
#pragma GCC unroll 16
    for (int i = 0; i < kPart; i += 64) __builtin_prefetch(block + kFetchAhead + sub * kPart + i);
  }

  HWY_INLINE void add_depth(int64_t depth) {
    for (int64_t k = 0; k < depth; k += Format::kBlock) {
      typename Format::Header header[kVectors];
#pragma GCC unroll 16
      for (int v = 0; v < kVectors; ++v) header[v].read(w[v], lane[v]);
      for (int sub = 0; sub < Format::kBlock / kActivationBlock; ++sub) {
        Scales<Format::kHalves> scales[kVectors];
#pragma GCC unroll 16
        for (int v = 0; v < kVectors; ++v) {
          scales[v] = header[v].scales(sub, lane[v]);
          fetch_ahead(w[v], sub);
        }
        add_sub_block(sub, scales);
#pragma GCC unroll 16
        for (int t = 0; t < kTokens; ++t) ++x[t];
      }
#pragma GCC unroll 16
      for (int v = 0; v < kVectors; ++v) w[v] += Format::kBytes;
    }
  }
};

template <class Format, int kVectors, int kTokens>
HWY_NOINLINE void run_tile(const PackedTile& job, int64_t row, int64_t token) {
  Tile<Format, kVectors, kTokens> tile;
  tile.place(job, row, token);
#pragma GCC unroll 16
  for (int v = 0; v < kVectors; ++v)
#pragma GCC unroll 16
    for (int t = 0; t < kTokens; ++t) tile.acc[v][t] = zero_floats();
  tile.add_depth(job.depth);
#pragma GCC unroll 16
  for (int v = 0; v < kVectors; ++v) {
    const int64_t first = row + v * kLanes;
    const int64_t n = std::clamp<int64_t>(job.rows - first, 0, kLanes);
#pragma GCC unroll 16
    for (int t = 0; t < kTokens; ++t) {
      Floats sum = tile.acc[v][t];
      if (job.bias != nullptr) sum = add_floats(sum, load_some(job.bias + first, n));
      store_some(sum, job.y + packed_row_of(job.y_rows, token + t) * job.y_stride + first, n);
    }
  }
}

using TileFn = void (*)(const PackedTile&, int64_t, int64_t);

// Tiles of kLeast tokens and more.
template <class Format, int kVectors, int kLeast, int... kMore>
constexpr std::array<TileFn, sizeof...(kMore)> tiles_of(std::integer_sequence<int, kMore...>) {
  return {run_tile<Format, kVectors, kLeast + kMore>...};
}

// The tokens [begin, end) in tiles of about equal size, kLeast to kMost.
template <class Format, int kVectors, int kLeast, int kMost>
void run_tokens(const PackedTile& job, int64_t row, int64_t begin, int64_t end) {
  static constexpr auto kTiles =
      tiles_of<Format, kVectors, kLeast>(std::make_integer_sequence<int, kMost - kLeast + 1>());
  const int64_t tiles = (end - begin + kMost - 1) / kMost;
  for (int64_t i = 0; i < tiles; ++i) {
    const int64_t first = begin + (end - begin) * i / tiles;
    const int64_t count = begin + (end - begin) * (i + 1) / tiles - first;
    kTiles[static_cast<size_t>(count - kLeast)](job, row, first);
  }
}

// Few tokens: the weights come from memory, and one stream of them is read fastest. Many: kWideVectors
// vectors share each load of the activations, of which as many are taken at a time as stay in the
// second-level cache.
template <class Format>
void multiply(const PackedTile& job) {
  // Two sums an output take the registers of a wide tile.
  constexpr bool kHasWide = Format::kHalves == 1;
  // From here on no tile has fewer tokens than the most - 1.
  constexpr int64_t kManyTokens = std::max(2, (kWideTokens - 1) * (kWideTokens - 2));
  const int64_t step =
      std::max<int64_t>(kManyTokens, kCachedBytes / activation_bytes(std::max<int64_t>(job.depth, 32)));
  const int64_t parts = (job.tokens + step - 1) / step;
  for (int64_t part = 0; part < parts; ++part) {
    const int64_t begin = job.tokens * part / parts;
    const int64_t end = job.tokens * (part + 1) / parts;
    int64_t row = 0;
    if constexpr (kHasWide) {
      const int64_t wide_rows = end - begin >= kManyTokens ? job.rows - (kWideVectors - 1) * kLanes : 0;
      for (; row < wide_rows; row += kWideVectors * kLanes)
        run_tokens<Format, kWideVectors, kWideTokens - 1, kWideTokens>(job, row, begin, end);
    }
    for (; row < job.rows; row += kNarrowVectors * kLanes)
      run_tokens<Format, kNarrowVectors, 1, kNarrowTokens>(job, row, begin, end);
  }
}

template <class Format>
void unpack_row(const uint8_t* group, int64_t row, int64_t depth, float* out) {
  const int lane = static_cast<int>(row) / kLanes * kLanes;
  const int own = static_cast<int>(row) % kLanes;
  const auto value_of = [own](Floats v) {
    float values[kLanes];
    store_floats(v, values);
    return values[own];
  };
  for (int64_t k = 0; k < depth; k += Format::kBlock, group += Format::kBytes) {
    typename Format::Header header;
    header.read(group, lane);
    for (int sub = 0; sub < Format::kBlock / kActivationBlock; ++sub, out += kActivationBlock) {
      const Scales<Format::kHalves> scales = header.scales(sub, lane);
      for (int step = 0; step < 4; ++step) {
        uint8_t codes[2][4 * kLanes];
        Bytes low, high;
        Format::codes(group, sub, step, lane, low, high);
        store_bytes(low, codes[0]);
        store_bytes(high, codes[1]);
        for (int half = 0; half < 2; ++half) {
          const int own_scale = half % Format::kHalves;
          const float scale = value_of(scales.scale[own_scale]);
          for (int i = 0; i < 4; ++i) {
            float& value = out[16 * half + 4 * step + i];
            value = scale * static_cast<float>(codes[half][4 * own + i] - Format::kOffset);
            if constexpr (Format::kMinima) value += value_of(scales.minimum[own_scale]);
          }
        }
      }
    }
  }
}

template <class Format>
PackedFormat packed_format() {
  return {Format::kBlock, Format::kBytes, pack<Format>, unpack_row<Format>, multiply<Format>};
}

}  // namespace
}  // namespace llmhost::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
