// Gradients of single ops: what a row of dy gives, from the inputs of the forward op. All [worker].
#pragma once

#include <cstdint>

namespace llmhost::cpu {

struct GradientKernels {
  // dx of a row normalised by its root mean square, and by its mean and deviation; w may be null.
  void (*rms)(const float* x, const float* w, const float* dy, float eps, float offset, int64_t n, float* dx);
  void (*layer)(const float* x, const float* w, const float* dy, float eps, float offset, int64_t n,
                float* dx);
  // sums += dy times the normalised row.
  void (*rms_weight)(const float* x, const float* dy, float eps, int64_t n, float* sums);
  void (*layer_weight)(const float* x, const float* dy, float eps, int64_t n, float* sums);
  // y (dy - sum of y dy)
  void (*softmax)(const float* y, const float* dy, int64_t n, float* dx);
  // By LLMH_ACT_*.
  void (*activation)(int32_t kind, const float* x, const float* dy, int64_t n, float* dx);
  void (*gated)(int32_t kind, const float* gate, const float* up, const float* dy, int64_t n, float* dgate,
                float* dup);
  // x times `factor` or 0; state and least as in kernels/dropout.h, i is the column of the first element.
  void (*dropout)(uint64_t state, uint32_t least, float factor, int64_t i, const float* x, int64_t n,
                  float* y);
};

GradientKernels gradient_kernels();

}  // namespace llmhost::cpu
