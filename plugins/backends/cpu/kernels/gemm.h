// Products of two operands whose rows follow the depth, c[m, n] = sum over k of a[k, m] b[k, n]: what
// training adds to products with rows of weights. Every element of c has one accumulator and k ascends in it,
// through memory from one block of the depth to the next: the bits depend neither on blocks nor on the tiles'
// shapes.
//
// Operands are packed: b in panels of `columns`, one row of the panel after the other; a in panels of
// kGemmRows, of which the kernel takes tile_rows at most. In bf16 a row holds pairs, (k, k + 1) in 32 bits.
#pragma once

#include <cstdint>

namespace llmhost::cpu {

enum { kGemmRows = 16, kGemmMostColumns = 64 };

struct GemmTile {
  const void* a;  // row k at a + k * a_stride
  const void* b;  // row k of panel p at b + p * b_panel + k * b_stride
  float* c;       // row m at c + (c_rows ? c_rows[m] : m) * c_stride
  const int32_t* c_rows;
  int64_t a_stride;  // all strides in elements of 32 bits
  int64_t b_stride;
  int64_t b_panel;
  int64_t c_stride;
  int64_t rows;  // up to tile_rows
  int64_t columns;
  int64_t depth;  // rows of a and b; pairs in bf16
  bool adds;      // to what c holds
};

// Rows of f32, that a list may choose.
struct GemmRows {
  const float* x;
  const int32_t* rows;  // null or [n]
  int64_t stride;
  int64_t n;

  const float* row(int64_t i) const { return x + (rows == nullptr ? i : int64_t{rows[i]}) * stride; }
};

struct GemmKernels {
  int64_t tile_rows = 1;
  int64_t columns = 1;  // of a panel
  // Reads whole panels of b and writes the columns that there are.
  void (*f32)(const GemmTile& tile);
  // out[k, r] = row r at column k, for columns [0, depth); zeros up to `width` (a multiple of 4, out's
  // stride).
  void (*turn)(const GemmRows& rows, int64_t depth, int64_t width, float* out);
  // A row of n columns to its places in panels that are `panel` elements apart; zeros to the end of the last.
  void (*spread)(const float* x, int64_t n, int64_t panel, float* out);
  // The same in bf16, null where the CPU has no instruction for it: rounded to nearest even and in pairs, the
  // last of an odd depth with zero. `high` may be null for zeros.
  void (*bf16)(const GemmTile& tile);
  void (*turn_bf16)(const GemmRows& rows, int64_t depth, int64_t width, uint32_t* out);
  void (*spread_bf16)(const float* low, const float* high, int64_t n, int64_t panel, uint32_t* out);
  // The same of rows that are bf16 as they are; stored bf16 whose rows are whole pairs is turned by `turn`.
  void (*spread_pairs)(const uint8_t* low, const uint8_t* high, int64_t n, int64_t panel, uint32_t* out);
};

GemmKernels gemm_kernels();

}  // namespace llmhost::cpu
