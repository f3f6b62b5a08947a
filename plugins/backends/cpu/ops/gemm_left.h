// The left operand of products, packed once for all pieces and for every product of the same rows: pieces
// then are narrow and read all of it, so that the right operand is packed once too.
#pragma once

#include "ops/gemm.h"

namespace llmhost::cpu {

class LeftPanels {
 public:
  LeftPanels() = default;  // no memory: pieces pack what they read
  LeftPanels(uint8_t* memory, uint64_t bytes)
      : memory_(reinterpret_cast<float*>(memory)), floats_(static_cast<int64_t>(bytes / sizeof(float))) {}

  // Memory for up to `rows` rows of `depth`.
  static uint64_t bytes(int64_t rows, int64_t depth);

  // Rows of the product that are packed at once; 0 where it is not worth it.
  int64_t rows_at_once(const GemmKernels& kernels, const Gemm& gemm) const;
  // The rows of a product, which may be packed already.
  const float* pack(const RunContext& context, const Gemm& gemm);

 private:
  float* memory_ = nullptr;
  int64_t floats_ = 0;
  // What is there.
  const float* x_ = nullptr;
  int64_t rows_ = 0;
  bool is_bf16_ = false;
};

}  // namespace llmhost::cpu
