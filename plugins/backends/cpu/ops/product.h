// Rows of an input times one weight matrix of any stored type, in units of 16 rows of the weight: what
// LINEAR, MATMUL and EXPERT_LINEAR share.
#pragma once

#include "ops/linear.h"
#include "ops/rounding.h"

namespace llmhost::cpu {

// Which rows are multiplied, and where results go.
struct ProductRows {
  const float* bias = nullptr;  // null or [rows of the matrix]
  float* y = nullptr;
  const int32_t* x_rows = nullptr;  // null or [tokens]
  const int32_t* y_rows = nullptr;  // null or [tokens]
  int64_t tokens = 0;
};

class Product {
 public:
  // The matrix is number `matrix` of the weight; x is its f32 input, `rounded` the same rounded.
  Product(const RunContext& context, const Operand& weight, int64_t matrix, const float* x,
          const RoundedInput& rounded, Form form, const ProductRows& rows);

  static int64_t units_of(const Operand& weight) {
    return (weight.dims[weight.rank - 2].size + kPackedRows - 1) / kPackedRows;
  }
  // `scratch` has decoded_bytes() of the weight. [worker]
  void run(int64_t begin, int64_t end, float* scratch) const;

  // Units of a matrix that make a piece of work: enough to be worth handing out, few enough for the threads
  // to end together, pairs where many tokens are multiplied.
  static int64_t piece_units(int64_t all_units, int64_t depth, int64_t tokens, int32_t n_threads);

 private:
  Form form_;
  int64_t n_rows_;
  int64_t unit_bytes_ = 0;  // of a packed group
  void (*multiply_)(const PackedTile& tile) = nullptr;
  PackedTile packed_{};
  LinearJob stored_{};
};

}  // namespace llmhost::cpu
