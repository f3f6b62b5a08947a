// The inner loops, compiled once for each instruction set and reached through tables of function pointers.
//
// Every function works on rows of f32 (weights and state are decoded on the way) and its result for one
// element or one row depends on that row's inputs alone: neither on how many rows there are, nor on where a
// row stands, nor on which thread runs it. All [worker]: no allocation, no errors.
#pragma once

#include <cstdint>

#include "kernels/attention.h"
#include "kernels/attention_train.h"
#include "kernels/gemm.h"
#include "kernels/gradients.h"
#include "kernels/loss.h"
#include "kernels/packed.h"
#include "llmhost/dtype.h"

namespace llmhost::cpu {

// Decodes `count` elements (whole blocks) from `source`, at any alignment, to f32.
using DecodeFn = void (*)(const uint8_t* source, int64_t count, float* out);

struct DecodeKernels {
  DecodeFn by_dtype[LLMH_DTYPE_COUNT_] = {};  // null: no decoder
};

// y[t, r] = sum over k of x[t, k] w[r, k], plus bias[r] when there is one. Strides in elements of the array
// that they belong to; x and w at any alignment, of the types that the kernel states. Where x_rows and y_rows
// are given, they say which rows of x and y are meant by t.
struct LinearTile {
  const void* x;
  const void* w;
  const float* bias;  // null or [rows]
  float* y;
  const int32_t* x_rows;  // null or [tokens]
  const int32_t* y_rows;  // null or [tokens]
  int64_t x_stride;
  int64_t w_stride;
  int64_t y_stride;
  int64_t tokens;
  int64_t rows;
  int64_t depth;
  bool w_cached = false;  // w was written or read a moment ago: it need not come from memory
};

struct LinearKernels {
  // y[n] = sum over k of a[k] b[k * b_stride + n], k ascending.
  void (*combine)(const float* a, const float* b, int64_t b_stride, int64_t depth, int64_t n, float* y);
};

// Products with rows of unquantised weights as they are stored. One f32 vector accumulator an output, k
// ascending by whole vectors, a zero-padded tail, one fixed tree at the end, then the bias: the order is the
// kernel's own, whatever the numbers of tokens and rows. Any number of either; the kernels block by
// themselves.
struct DenseKernels {
  // x is f32, w is of the type named; exact conversions in registers.
  void (*f32)(const LinearTile& tile);
  void (*f16)(const LinearTile& tile);
  void (*bf16)(const LinearTile& tile);
  // x and w are bf16 (x by round_bf16); products in pairs, subnormals count as zero. Null where the CPU has
  // no instruction for it or is no faster with it.
  void (*bf16_native)(const LinearTile& tile);
  // To the nearest, ties to even; NaN stays NaN.
  void (*round_bf16)(const float* x, int64_t n, uint16_t* out);
};

// What an adapter adds to rows of y that hold x W^T + bias (or x W'^T, then bias is null):
//     y[n] = g[n] (y[n] - bias[n] + scale (sum over k of u[k] B[n, k] + b_bias[n])) + (new_bias or bias)[n]
// with k ascending in one accumulator; without row_scale and new_bias the bias stays in y. The same row gives
// the same numbers whatever the others are, and however columns are cut into units.
// What the first kLowRankAhead bytes of B are, the caller may fetch before.
enum { kLowRankColumns = 16, kLowRankAhead = 2048 };
struct LowRankTile {
  const uint8_t* b;        // units of 16 columns, one after another: [rank][16], the last one padded
  const float* u;          // rows of [rank]
  float* y;                // the first of the columns
  const int32_t* rows;     // null or [n_rows], of u and of y
  const float* b_bias;     // null or [columns], as all that follow
  const float* row_scale;  // g
  const float* bias;       // that y holds; with new_bias it is taken out again
  const float* new_bias;
  int64_t u_stride;
  int64_t y_stride;
  int64_t n_rows;
  int64_t columns;
  int64_t rank;
  float scale;
};

struct LowRankKernels {
  // B of the type named.
  void (*f32)(const LowRankTile& tile);
  void (*f16)(const LowRankTile& tile);
  void (*bf16)(const LowRankTile& tile);
};

struct NormKernels {
  // x / sqrt(mean(x^2) + eps) * (w + offset); w may be null.
  void (*rms)(const float* x, const float* w, float eps, float offset, int64_t n, float* y);
  // (x - mean) / sqrt(var + eps) * (w + offset) + b; w and b may be null.
  void (*layer)(const float* x, const float* w, const float* b, float eps, float offset, int64_t n, float* y);
  void (*softmax)(const float* x, int64_t n, float* y);  // a row of -inf gives zeros
  float (*reduce)(int32_t kind, const float* x, int64_t n);
};

enum class BinaryOp { kAdd, kSub, kMul, kDiv };

struct ElementwiseKernels {
  void (*unary)(int32_t kind, const float* x, int64_t n, float* y);       // LLMH_UNARY_*
  void (*activation)(int32_t kind, const float* x, int64_t n, float* y);  // LLMH_ACT_*
  void (*gated)(int32_t kind, const float* gate, const float* up, int64_t n, float* y);
  // A step of 0 repeats the first element of its operand.
  void (*binary)(BinaryOp op, const float* a, int64_t a_step, const float* b, int64_t b_step, int64_t n,
                 float* y);
  void (*softcap)(float cap, const float* x, int64_t n, float* y);
  void (*scale)(float factor, const float* x, int64_t n, float* y);
  void (*clamp)(float min, float max, const float* x, int64_t n, float* y);  // NaN stays
  void (*round_f16)(const float* x, int64_t n, uint16_t* y);                 // to the nearest, ties to even
};

struct RopeKernels {
  // Rotates the first 2 * pairs elements of one head; y and x may be equal.
  void (*halves)(const float* x, const float* cos, const float* sin, int64_t pairs, float* y);
  void (*interleaved)(const float* x, const float* cos, const float* sin, int64_t pairs, float* y);
};

struct Kernels {
  const char* isa = "";
  DecodeKernels decode;
  LinearKernels linear;
  DenseKernels dense;
  GemmKernels gemm;
  LowRankKernels low_rank;
  AttentionKernels attention;
  TrainAttentionKernels train_attention;
  StateKernels state;
  NormKernels norm;
  LossKernels loss;
  ElementwiseKernels elementwise;
  GradientKernels gradient;
  RopeKernels rope;
  PackedKernels packed;
};

// The best table for what this process may use now; isa.cpp chooses.
DecodeKernels decode_kernels();
LinearKernels linear_kernels();
DenseKernels dense_kernels();
LowRankKernels low_rank_kernels();
AttentionKernels attention_kernels();
StateKernels state_kernels();
NormKernels norm_kernels();
ElementwiseKernels elementwise_kernels();
RopeKernels rope_kernels();

}  // namespace llmhost::cpu
