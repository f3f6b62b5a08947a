// Tiles of outputs: kVectors vectors of rows times kTokens rows of activations, over any format of weights.
//
// A format says how a block of 16 packed rows is read:
//   kBlock, kBytes   elements and bytes of a block
//   kOffset          what is subtracted from its codes; kMaxCode is the greatest code
//   kHalves          scales for each 32 elements: 1, or 2 for 16 each
//   kMinima          whether a minimum is added with each scale
//   Header(block, lane)     reads what is decoded once for a block, for the rows from `lane`;
//   .scales(sub)            gives the scales of elements [32 sub, 32 sub + 32)
//   codes(block, sub, step, lane, low, high)   the codes of elements 32 sub + 4 step + [0, 4), and of those
//   16
//                    further on
#if defined(LLMHOST_CPU_PACKED_TILE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LLMHOST_CPU_PACKED_TILE_INL_H_
#undef LLMHOST_CPU_PACKED_TILE_INL_H_
#else
#define LLMHOST_CPU_PACKED_TILE_INL_H_
#endif

#include <algorithm>
#include <cstring>

#include "kernels/packed_dot-inl.h"
#include "kernels/packed_pack-inl.h"

HWY_BEFORE_NAMESPACE();
namespace llmhost::cpu::HWY_NAMESPACE {
namespace {

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
      const int64_t first = row + v * kLanes;
      w[v] = job.weights + first / kPackedRows * group_bytes;
      lane[v] = static_cast<int>(first % kPackedRows);
    }
    for (int t = 0; t < kTokens; ++t)
      x[t] = reinterpret_cast<const ActivationBlock*>(job.x +
                                                      packed_row_of(job.x_rows, token + t) * job.x_stride);
  }

  HWY_INLINE void clear() {
#pragma GCC unroll 16
    for (int v = 0; v < kVectors; ++v)
#pragma GCC unroll 16
      for (int t = 0; t < kTokens; ++t) acc[v][t] = zero_floats();
  }

  HWY_INLINE void add_sub_block(int sub, const Scales<Format> (&scales)[kVectors]) {
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
        const Bytes low_x = fill_words(x[t]->q + 4 * step);
        const Bytes high_x = fill_words(x[t]->q + 16 + 4 * step);
#pragma GCC unroll 16
        for (int v = 0; v < kVectors; ++v) {
          dot[v][t].add_low(step, low[v], low_x);
          dot[v][t].add_high(step, high[v], high_x);
        }
      }
    }
#pragma GCC unroll 16
    for (int t = 0; t < kTokens; ++t)
#pragma GCC unroll 16
      for (int v = 0; v < kVectors; ++v) acc[v][t] = dot[v][t].add_to(acc[v][t], scales[v], *x[t]);
  }

  HWY_INLINE void add_depth(int64_t depth) {
    for (int64_t block = 0; block < depth; block += Format::kBlock) {
      typename Format::Header header[kVectors];
#pragma GCC unroll 16
      for (int v = 0; v < kVectors; ++v) header[v].read(w[v], lane[v]);
      for (int sub = 0; sub < Format::kBlock / kActivationBlock; ++sub) {
        Scales<Format> scales[kVectors];
#pragma GCC unroll 16
        for (int v = 0; v < kVectors; ++v) scales[v] = header[v].scales(sub, lane[v]);
        add_sub_block(sub, scales);
#pragma GCC unroll 16
        for (int t = 0; t < kTokens; ++t) ++x[t];
      }
#pragma GCC unroll 16
      for (int v = 0; v < kVectors; ++v) w[v] += Format::kBytes;
    }
  }

  HWY_INLINE void store(const PackedTile& job, int64_t row, int64_t token) const {
    for (int t = 0; t < kTokens; ++t) {
      float* y = job.y + packed_row_of(job.y_rows, token + t) * job.y_stride;
#pragma GCC unroll 16
      for (int v = 0; v < kVectors; ++v) {
        const int64_t first = row + v * kLanes;
        const int64_t n = std::min<int64_t>(job.rows - first, kLanes);
        alignas(64) float values[kLanes];
        store_floats(acc[v][t], values);
        for (int64_t i = 0; i < n; ++i)
          y[first + i] = job.bias == nullptr ? values[i] : values[i] + job.bias[first + i];
      }
    }
  }
};

template <class Format, int kVectors, int kTokens>
HWY_NOINLINE void run_tile(const PackedTile& job, int64_t row, int64_t token) {
  Tile<Format, kVectors, kTokens> tile;
  tile.place(job, row, token);
  tile.clear();
  tile.add_depth(job.depth);
  tile.store(job, row, token);
}

template <class Format>
void multiply(const PackedTile& job) {
  for (int64_t row = 0; row < job.rows; row += kLanes) {
    int64_t token = 0;
    for (; token + 4 <= job.tokens; token += 4) run_tile<Format, 1, 4>(job, row, token);
    for (; token < job.tokens; ++token) run_tile<Format, 1, 1>(job, row, token);
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
      const Scales<Format> scales = header.scales(sub, lane);
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
