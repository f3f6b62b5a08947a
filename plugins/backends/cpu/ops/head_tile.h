// The work of LINEAR_CROSS_ENTROPY on some rows and a span of the vocabulary: a tile of the weight at a time
// is decoded, gives logits, these become exp(logit - largest so far), and multiplied with the same tile they
// add to the gradient of x, which is scaled down whenever a larger logit appears. So the weight is read once,
// and a tile of logits is in memory.
#pragma once

#include <limits>

#include "ops/gemm.h"

namespace llmhost::cpu {

// softcap(value * (x W^T + bias)), with rows of x chosen by a list.
struct Head {
  GemmRows x{};
  GemmRight weight{};  // rows are columns of the product
  const float* bias = nullptr;
  int64_t vocabulary = 0;
  int64_t depth = 0;
  float value = 1;
  float cap = 0;  // 0: none
  bool is_bf16 = false;
};

// What a row has of a span.
struct RowSums {
  double sum = 0;  // of exp(logit - largest)
  float largest = -std::numeric_limits<float>::infinity();
};

constexpr int64_t kMostHeadRows = 256;  // of one piece of work

// Columns of the vocabulary in a tile; follows from the depth alone.
int64_t head_tile(int64_t depth);
uint64_t head_scratch_bytes(int64_t depth);

struct HeadPart {
  int64_t row;  // of the list
  int64_t n_rows;
  int64_t begin;  // of the vocabulary
  int64_t end;
  const int32_t* labels;  // of all rows of x
  // Of the part's rows, one after the other.
  RowSums* sums;
  float* label_logits;  // written where the label is in the span
  float* dx;            // [n_rows, depth]: sum over the span of exp(logit - largest) slope W, for cap's slope
};

// `scratch` has head_scratch_bytes(). [worker]
void run_head_part(const Kernels& kernels, const Head& head, const HeadPart& part, float* scratch);

}  // namespace llmhost::cpu
