#include "ops/rounding.h"

#include <algorithm>

namespace llmhost::cpu {
namespace {

uint64_t int8_bytes(int64_t rows, int64_t depth) {
  return static_cast<uint64_t>(rows) * static_cast<uint64_t>(activation_bytes(depth));
}

}  // namespace

Form form_for(const llmh_instance& instance, const Operand& weight) {
  if (weight.weight == nullptr || !instance.rounds_activations) return Form::kF32;
  if (weight.weight->packed.data != nullptr) return Form::kInt8;
  const bool is_bf16 = weight.dtype == LLMH_DTYPE_BF16 && instance.kernels.dense.bf16_native != nullptr;
  return is_bf16 ? Form::kBf16 : Form::kF32;
}

Form blocked_form_for(const llmh_instance& instance, const Operand& weight) {
  if (weight.weight == nullptr || !instance.rounds_activations || instance.kernels.gemm.bf16 == nullptr)
    return Form::kBlocked;
  const bool is_short =
      weight.dtype == LLMH_DTYPE_BF16 || llmh_dtype_layout_of(weight.dtype).block_elements > 1;
  return is_short ? Form::kBlockedBf16 : Form::kBlocked;
}

RoundedInput::RoundedInput(const Operand& x, int64_t most_rows, std::span<const Call* const> products)
    : x_(x), most_rows_(most_rows), depth_(x.dims[x.rank - 1].size) {
  const auto any_reads = [&](Form form) {
    return std::ranges::any_of(products, [&](const Call* call) { return call->form == form; });
  };
  has_int8_ = any_reads(Form::kInt8);
  has_bf16_ = any_reads(Form::kBf16);
  if (has_int8_) bf16_begin_ = int8_bytes(most_rows, depth_);
}

uint64_t RoundedInput::most_bytes(int64_t rows, int64_t depth) {
  const uint64_t bf16 = static_cast<uint64_t>(rows) * static_cast<uint64_t>(depth) * sizeof(uint16_t);
  return (int8_bytes(rows, depth) + bf16 + 63) / 64 * 64;
}

void RoundedInput::round(const RunContext& context) const {
  const int64_t rows = context.shape(x_).rows();
  const Window& window = context.window();
  const int64_t first =
      window.symbol == LLMH_DIM_CONST ? 0 : rows / std::max<int64_t>(window.count, 1) * window.begin;
  const float* x = context.floats(x_);
  uint8_t* int8_row = context.shared_scratch() + first * int8_stride();
  auto* bf16_row =
      reinterpret_cast<uint16_t*>(context.shared_scratch() + bf16_begin_) + first * bf16_stride();
  for (int64_t row = 0; row < rows; ++row, x += depth_) {
    if (has_int8_) context.kernels.packed.quantise(x, depth_, int8_row + row * int8_stride());
    if (has_bf16_) context.kernels.dense.round_bf16(x, depth_, bf16_row + row * bf16_stride());
  }
}

}  // namespace llmhost::cpu
