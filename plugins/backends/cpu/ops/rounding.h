// The input of products whose kernels read rounded activations: rounded once a step, however many weights are
// multiplied with it.
#pragma once

#include <span>

#include "ops/op.h"

namespace llmhost::cpu {

Form form_for(const llmh_instance& instance, const Operand& weight);
// Of blocked products: both operands in bf16 where the weight has no more than its precision.
Form blocked_form_for(const llmh_instance& instance, const Operand& weight);

// Rows of x [.., depth] in the forms that are needed. They lie at the start of the shared scratch, int8
// first, until the next input is rounded there.
class RoundedInput {
 public:
  RoundedInput() = default;
  RoundedInput(const Operand& x, int64_t most_rows, std::span<const Call* const> products);

  // What both forms would take, in bytes, rounded up to whole cache lines.
  static uint64_t most_bytes(int64_t rows, int64_t depth);

  uint64_t reserved_bytes() const { return most_bytes(most_rows_, depth_); }
  int64_t most_rows() const { return most_rows_; }
  bool is_needed() const { return has_int8_ || has_bf16_; }
  const Operand& source() const { return x_; }
  // Rounds the rows that the context shows. [worker] in a window
  void round(const RunContext& context) const;

  const uint8_t* int8_rows(const RunContext& context) const { return context.shared_scratch(); }
  int64_t int8_stride() const { return activation_bytes(depth_); }
  const uint16_t* bf16_rows(const RunContext& context) const {
    return reinterpret_cast<const uint16_t*>(context.shared_scratch() + bf16_begin_);
  }
  int64_t bf16_stride() const { return depth_; }

 private:
  Operand x_;
  int64_t most_rows_ = 0;
  int64_t depth_ = 0;
  uint64_t bf16_begin_ = 0;
  bool has_int8_ = false;
  bool has_bf16_ = false;
};

}  // namespace llmhost::cpu
