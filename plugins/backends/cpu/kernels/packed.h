// Products of quantised weights with activations that are rounded to 8 bits in blocks of 32.
//
// Weights are packed once: rows in groups of 16, so that one vector holds the same elements of all of them.
// Packing loses nothing (unpack_row gives what the stored row's decoder gives, to the bit) and takes as many
// bytes as the stored rows. The arithmetic of one output, blocks of 32 elements k in ascending order:
//   dot = sum of (integer weight * integer activation), exact in i32
//   acc = fma(float(dot), weight scale * activation scale, acc)
//   acc = fma(weight minimum, activation scale * sum of its integers, acc), for types with minima
// and types whose scales are for 16 elements have
//   acc = fma(fma(float(dot1), scale1, float(dot0) * scale0), activation scale, acc)
//   acc = fma(minimum0, .., acc), acc = fma(minimum1, .., acc).
// The bias is added at the end. So a result depends on its row of x and its row of weights alone, and is the
// same on every instruction set with fma; the others (sse4, scalar) round the product before the addition.
// All functions are [worker] functions: no allocation, no errors.
#pragma once

#include <cstdint>

#include "llmhost/dtype.h"

namespace llmhost::cpu {

enum { kPackedRows = 16, kActivationBlock = 32 };

// 32 activations. A block with a NaN or an infinity has scale NaN, and so have all results made of it; one
// whose greatest magnitude is below 2^-100 counts as zero.
struct ActivationBlock {
  int8_t q[kActivationBlock];  // to nearest even of x * (127 / greatest magnitude)
  float scale;                 // greatest magnitude / 127
  float scaled_sum;            // scale * sum of q
  float scaled_half_sums[2];   // of 16 each
  int32_t negative_sum;        // -sum of q
  int32_t negative_half_sums[2];
  int32_t unused;
};
static_assert(sizeof(ActivationBlock) == 64);

// Bytes of a quantised row; rows that start at multiples of 64 bytes are read fastest.
constexpr int64_t activation_bytes(int64_t depth) {
  return depth / kActivationBlock * static_cast<int64_t>(sizeof(ActivationBlock));
}

// y[t, r] = sum over k of x[t, k] w[r, k], plus bias[r] when there is one.
struct PackedTile {
  const uint8_t* weights;  // groups of 16 rows, one after the other
  const uint8_t* x;        // quantised rows
  const float* bias;       // null or [rows]
  float* y;
  const int32_t* x_rows;  // null or [tokens]: which rows of x and y are meant by t
  const int32_t* y_rows;  // null or [tokens]
  int64_t x_stride;       // bytes
  int64_t y_stride;       // floats
  int64_t tokens;
  int64_t rows;   // any number; the groups that they need are read whole
  int64_t depth;  // whole blocks
};

struct PackedFormat {
  int64_t block_elements = 0;  // 0: this type has no packed format
  int64_t block_bytes = 0;     // packed bytes of 16 rows of a block
  // n_rows (1 to 16) stored rows, row_bytes apart, to one group; absent rows become zero.
  void (*pack)(const uint8_t* stored, int64_t row_bytes, int64_t depth, int64_t n_rows,
               uint8_t* group) = nullptr;
  void (*unpack_row)(const uint8_t* group, int64_t row, int64_t depth, float* out) = nullptr;
  void (*multiply)(const PackedTile& tile) = nullptr;

  bool supports(int64_t depth) const { return block_elements != 0 && depth % block_elements == 0; }
  int64_t group_bytes(int64_t depth) const { return depth / block_elements * block_bytes; }
  int64_t bytes(int64_t rows, int64_t depth) const {
    return (rows + kPackedRows - 1) / kPackedRows * group_bytes(depth);
  }
};

struct PackedKernels {
  PackedFormat by_dtype[LLMH_DTYPE_COUNT_];
  // depth is a multiple of 32; `row` has activation_bytes(depth).
  void (*quantise)(const float* x, int64_t depth, uint8_t* row) = nullptr;
};

PackedKernels packed_kernels();

}  // namespace llmhost::cpu
