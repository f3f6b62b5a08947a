// Blocked products of training: c = left * right, both operands packed on the way into panels that stay in
// the caches. Pieces of c are divided among threads, never the depth: the bits are the same for any number of
// threads.
#pragma once

#include "ops/op.h"

namespace llmhost::cpu {

constexpr int64_t kFewGemmRows = 28;

// The right operand, of any stored type: a matrix whose rows are the columns of c ("W" of x W^T), or with
// `is_deep` follow the depth ("W" of dy W).
struct GemmRight {
  const uint8_t* data = nullptr;
  DecodeFn decode = nullptr;  // null: aligned f32 in place
  void (*unpack)(const uint8_t* group, int64_t row, int64_t depth,
                 float* out) = nullptr;  // of a packed weight
  const int32_t* rows = nullptr;         // null or which rows are meant
  int64_t row_elements = 0;
  int64_t row_bytes = 0;  // of a group where the weight is packed
  int64_t block = 1;      // elements that are decoded together
  int64_t block_bytes = 0;
  bool is_deep = false;
  bool is_bf16 = false;  // as stored, not packed

  const uint8_t* stored(int64_t index, int64_t begin) const;
  // Whether rows can be read as 32 bits that hold two elements each of bf16; n of them, from element `begin`.
  bool has_pairs() const;
  GemmRows pairs(int64_t index, int64_t begin, int64_t n) const;
  bool is_in_place() const { return decode == nullptr && unpack == nullptr && rows == nullptr; }
  // Elements [begin, begin + n) of a row, whole blocks; perhaps in `memory`, of row_elements.
  const float* row(int64_t index, int64_t begin, int64_t n, float* memory) const;
};

// Matrix number `matrix` of a weight or of f32 memory.
GemmRight right_of(const RunContext& context, const Operand& operand, int64_t matrix, bool is_deep);

// Rows that follow the depth.
GemmRight right_of(const GemmRows& rows);

struct Gemm {
  int64_t m = 0;
  int64_t n = 0;
  int64_t depth = 0;
  GemmRows left{};  // [m, depth], or with left_is_deep [depth, m], which is f32 only
  bool left_is_deep = false;
  GemmRight right{};
  float* c = nullptr;
  const int32_t* c_rows = nullptr;  // null or [m]
  int64_t c_stride = 0;
  const float* bias = nullptr;  // null or [n]
  bool is_bf16 = false;         // operands are rounded
  const float* panels =
      nullptr;         // null or all of left, packed: panel_width() x words() for each tile of rows
  bool turns = false;  // c is [n, m]; m up to kFewGemmRows, right f32 in place and deep, no list and no bias

  int64_t words() const { return is_bf16 ? (depth + 1) / 2 : depth; }  // of 32 bits
};

// Of a packed tile of rows in memory.
inline int64_t panel_width(const GemmKernels& kernels) {
  return (kernels.tile_rows + 3) / 4 * 4;
}

// c [n, k] = dy^T x, for rows dy [.., n] and x [.., k].
Gemm weight_gradient(const GemmRows& dy, int64_t n, const GemmRows& x, int64_t k, float* c);

// How a product is cut into pieces.
struct GemmGrid {
  int64_t rows = 1;  // of a piece
  int64_t columns = 1;
  int64_t n_rows = 0;  // of pieces
  int64_t n_columns = 0;

  int64_t count() const { return n_rows * n_columns; }
};

GemmGrid gemm_grid(const GemmKernels& kernels, const Gemm& gemm, int32_t n_threads);
// `scratch` has gemm_scratch_bytes(). [worker]
void run_piece(const GemmKernels& kernels, const Gemm& gemm, const GemmGrid& grid, int64_t index,
               float* scratch);
class LeftPanels;

// All pieces, on all threads.
void run_gemm(const RunContext& context, const Gemm& gemm);
// The same with the left operand in `panels`, where that is worth it.
void run_gemm(const RunContext& context, const Gemm& gemm, LeftPanels& panels);

// Of a thread, for right operands with rows of `row_elements`.
uint64_t gemm_scratch_bytes(int64_t row_elements);

}  // namespace llmhost::cpu
