// EXPERT_LINEAR_INPUT_GRAD and EXPERT_LINEAR_WEIGHT_GRAD.
#include "ops/routed_gemm.h"

namespace llmhost::cpu {
namespace {

bool are_routed(const NodeView& view, const llmh_tensor_info& weight) {
  const llmh_tensor_info& ids = view.input(2);
  if (ids.dtype != LLMH_DTYPE_I32 || ids.rank != 2 || weight.rank != 3) return false;
  for (int32_t i = 0; i < weight.rank; ++i)
    if (constant_size(weight.dims[i]) < 0) return false;
  return view.input(0).dtype == LLMH_DTYPE_F32 && view.output(0).dtype == LLMH_DTYPE_F32;
}

bool supports_input_grad(const NodeView& view) {
  return view.node->n_inputs == 3 && are_routed(view, view.input(1)) && is_decodable(view.input(1));
}

bool supports_weight_grad(const NodeView& view) {
  return view.node->n_inputs == 3 && are_routed(view, view.output(0)) &&
         view.input(1).dtype == LLMH_DTYPE_F32;
}

uint64_t routing_bytes(const NodeView& view, int64_t experts, const llmh_limits& limits) {
  const llmh_tensor_info& ids = view.input(2);
  return Routing::bytes(experts, largest_size(ids.dims[0], limits) * largest_size(ids.dims[1], limits));
}

ScratchNeed input_grad_scratch(const NodeView& view, const llmh_limits& limits) {
  const llmh_tensor_info& weight = view.input(1);
  return {.per_thread = gemm_scratch_bytes(weight.dims[2].size),
          .shared = routing_bytes(view, weight.dims[0].size, limits)};
}

ScratchNeed weight_grad_scratch(const NodeView& view, const llmh_limits& limits) {
  return {.per_thread = gemm_scratch_bytes(0),
          .shared = routing_bytes(view, view.output(0).dims[0].size, limits)};
}

Routing routed(const RunContext& context, const Call& call, int64_t experts, int64_t rows_per_x) {
  const int32_t* ids = context.ints(call.inputs[2]);
  const int64_t rows = context.shape(call.inputs[2]).count();
  check_experts(call, ids, rows, experts);
  return route(context.shared_scratch(), ids, rows, experts, rows_per_x);
}

void run_input_grad(const RunContext& context, const Call& call) {
  const Operand& weight = call.inputs[1];
  const Routing routing = routed(context, call, weight.dims[0].size, 1);
  const int64_t rows = context.shape(call.inputs[2]).count();
  Gemm gemm;
  gemm.m = rows / std::max<int64_t>(1, routing.n_active);
  gemm.n = weight.dims[2].size;
  gemm.depth = weight.dims[1].size;
  gemm.left = {context.floats(call.inputs[0]), routing.y_rows, gemm.depth, gemm.m};
  gemm.right = right_of(context, weight, 0, true);
  gemm.c = context.out(call.outputs[0]);
  gemm.c_stride = gemm.n;
  gemm.is_bf16 = call.form == Form::kBlockedBf16;
  run_routed(context, gemm, routing.n_active, [&](int64_t i) {
    Gemm own = gemm;
    choose_rows(own, routing, routing.active[i], routing.y_rows);
    own.right = right_of(context, weight, routing.active[i], true);
    return own;
  });
}

void run_weight_grad(const RunContext& context, const Call& call) {
  const Operand& result = call.outputs[0];
  const int64_t experts = result.dims[0].size;
  const int64_t outputs = result.dims[1].size;
  const int64_t inputs = result.dims[2].size;
  const Shape ids = context.shape(call.inputs[2]);
  const Routing routing = routed(context, call, experts, call.inputs[1].rank == 2 ? ids.dims[1] : 1);
  const auto gradient = [&](int64_t expert) {
    const int64_t begin = routing.begin[expert];
    const int64_t n = routing.count(expert);
    return weight_gradient({context.floats(call.inputs[0]), routing.y_rows + begin, outputs, n}, outputs,
                           {context.floats(call.inputs[1]), routing.x_rows + begin, inputs, n}, inputs,
                           context.out(result) + expert * outputs * inputs);
  };
  Gemm mean = gradient(0);
  mean.depth = ids.count() / std::max<int64_t>(1, experts);
  run_routed(context, mean, experts, gradient);
}

constexpr OpEntry kEntries[] = {
    {.op = LLMH_OP_EXPERT_LINEAR_INPUT_GRAD,
     .supports = supports_input_grad,
     .run = run_input_grad,
     .scratch = input_grad_scratch,
     .multiplies_blocks = true},
    {.op = LLMH_OP_EXPERT_LINEAR_WEIGHT_GRAD,
     .supports = supports_weight_grad,
     .run = run_weight_grad,
     .scratch = weight_grad_scratch},
};

}  // namespace

OpList expert_gradient_ops() {
  return {kEntries, std::size(kEntries)};
}

}  // namespace llmhost::cpu
