// LINEAR_INPUT_GRAD and LINEAR_WEIGHT_GRAD.
#include <algorithm>

#include "ops/gemm_left.h"
#include "ops/linear.h"

namespace llmhost::cpu {
namespace {

constexpr int64_t kNarrow = 32;  // columns of a result below which dot products with few rows are faster

bool is_f32(const llmh_tensor_info& tensor) {
  return tensor.dtype == LLMH_DTYPE_F32;
}

bool supports_input_grad(const NodeView& view) {
  if (view.node->n_inputs != 2 || !is_f32(view.input(0)) || !is_f32(view.output(0))) return false;
  const llmh_tensor_info& weight = view.input(1);
  return weight.rank == 2 && constant_size(weight.dims[0]) >= 0 && is_decodable(weight) &&
         constant_size(weight.dims[1]) >= 0;
}

// A weight of few inputs, as floats of [K, N]: one row a column of the result.
bool is_narrow(const Operand& weight) {
  return weight.dims[1].size < kNarrow && weight.dims[0].size >= 2 * kNarrow &&
         row_floats(weight.dims[0].size) * kNarrow <= kDecodedFloats;
}

ScratchNeed input_grad_scratch(const NodeView& view, const llmh_limits& limits) {
  return {.per_thread = gemm_scratch_bytes(constant_size(view.input(1).dims[1])),
          .shared = LeftPanels::bytes(largest_rows(dims_of(view.input(0)), limits),
                                      constant_size(view.input(1).dims[0]))};
}

// Each thread turns the weight, which is small, and multiplies its rows of dy with it.
void run_narrow(const RunContext& context, const Call& call, int64_t rows) {
  const int64_t outputs = call.inputs[1].dims[0].size;
  const int64_t inputs = call.inputs[1].dims[1].size;
  const float* dy = context.floats(call.inputs[0]);
  float* dx = context.out(call.outputs[0]);
  const GemmRight weight = right_of(context, call.inputs[1], 0, true);
  const int64_t stride = row_floats(outputs);
  const int64_t grain = 4 * kGrain / (outputs * inputs) + 1;
  context.parallel_ranges(rows, grain, [&](int64_t begin, int64_t end, int32_t thread) {
    float* turned = context.thread_scratch(thread);
    float* memory = turned + kDecodedFloats;
    for (int64_t n = 0; n < outputs; ++n) {
      const float* row = weight.row(n, 0, inputs, memory);
      for (int64_t k = 0; k < inputs; ++k) turned[k * stride + n] = row[k];
    }
    context.kernels.dense.f32({.x = dy + begin * outputs,
                               .w = turned,
                               .bias = nullptr,
                               .y = dx + begin * inputs,
                               .x_rows = nullptr,
                               .y_rows = nullptr,
                               .x_stride = outputs,
                               .w_stride = stride,
                               .y_stride = inputs,
                               .tokens = end - begin,
                               .rows = inputs,
                               .depth = outputs,
                               .w_cached = true});
  });
}

void run_input_grad(const RunContext& context, const Call& call) {
  const Shape dy = context.shape(call.inputs[0]);
  const int64_t rows = dy.rows();
  if (rows == 0) return;
  if (is_narrow(call.inputs[1])) return run_narrow(context, call, rows);
  Gemm gemm;
  gemm.m = rows;
  gemm.n = call.inputs[1].dims[1].size;
  gemm.depth = dy.last();
  gemm.left = {context.floats(call.inputs[0]), nullptr, gemm.depth, rows};
  gemm.right = right_of(context, call.inputs[1], 0, true);
  gemm.c = context.out(call.outputs[0]);
  gemm.c_stride = gemm.n;
  gemm.is_bf16 = call.form == Form::kBlockedBf16;
  LeftPanels panels(context.shared_scratch(), context.shared_bytes());
  run_gemm(context, gemm, panels);
}

bool supports_weight_grad(const NodeView& view) {
  return view.node->n_inputs == 2 && all_f32(view) && view.input(0).rank >= 1 && view.input(1).rank >= 1;
}

ScratchNeed weight_grad_scratch(const NodeView&, const llmh_limits&) {
  return {.per_thread = gemm_scratch_bytes(0)};
}

void run_weight_grad(const RunContext& context, const Call& call) {
  const Shape dy = context.shape(call.inputs[0]);
  const Shape x = context.shape(call.inputs[1]);
  run_gemm(context, weight_gradient({context.floats(call.inputs[0]), nullptr, dy.last(), dy.rows()},
                                    dy.last(), {context.floats(call.inputs[1]), nullptr, x.last(), x.rows()},
                                    x.last(), context.out(call.outputs[0])));
}

constexpr OpEntry kEntries[] = {
    {.op = LLMH_OP_LINEAR_INPUT_GRAD,
     .supports = supports_input_grad,
     .run = run_input_grad,
     .scratch = input_grad_scratch,
     .multiplies_blocks = true},
    {.op = LLMH_OP_LINEAR_WEIGHT_GRAD,
     .supports = supports_weight_grad,
     .run = run_weight_grad,
     .scratch = weight_grad_scratch},
};

}  // namespace

OpList product_gradient_ops() {
  return {kEntries, std::size(kEntries)};
}

}  // namespace llmhost::cpu
