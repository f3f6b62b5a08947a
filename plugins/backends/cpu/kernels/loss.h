// Rows of logits on their way to a loss and its gradient. All [worker].
#pragma once

#include <cstdint>

namespace llmhost::cpu {

struct LossKernels {
  // Of NaN any number may come.
  float (*largest)(const float* x, int64_t n);
  // The sum of exp(x - shift).
  float (*exp_sum)(const float* x, int64_t n, float shift);
  // y = factor * exp(x - shift)
  void (*exp_scaled)(const float* x, int64_t n, float shift, float factor, float* y);
  // The sum of e = exp(x - shift); x becomes e, or with a cap e (1 - (x / cap)^2).
  float (*exp_in_place)(float* x, int64_t n, float shift, float cap);
  double (*sum_of_squares)(const float* x, int64_t n);
};

LossKernels loss_kernels();

}  // namespace llmhost::cpu
