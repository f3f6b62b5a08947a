// Ops on single elements, and binary ones with broadcasting.
#include "ops/rows.h"
#include "ops/strided.h"

namespace llmhost::cpu {
namespace {

bool supports_activation(const NodeView& view) {
  const int32_t kind = llmh::node_attrs<llmh_activation_attrs>(*view.node).kind;
  return all_f32(view) && kind >= LLMH_ACT_SILU && kind <= LLMH_ACT_GELU_QUICK;
}

void run_activation(const RunContext& context, const Call& call) {
  const int32_t kind = llmh::node_attrs<llmh_activation_attrs>(*call.node).kind;
  const float* x = context.floats(call.inputs[0]);
  float* y = context.out(call.outputs[0]);
  for_elements(context, call, [&](int64_t at, int64_t n) {
    context.kernels.elementwise.activation(kind, x + at, n, y + at);
  });
}

void run_gated(const RunContext& context, const Call& call) {
  const int32_t kind = llmh::node_attrs<llmh_activation_attrs>(*call.node).kind;
  const float* gate = context.floats(call.inputs[0]);
  const float* up = context.floats(call.inputs[1]);
  float* y = context.out(call.outputs[0]);
  for_elements(context, call, [&](int64_t at, int64_t n) {
    context.kernels.elementwise.gated(kind, gate + at, up + at, n, y + at);
  });
}

bool supports_unary(const NodeView& view) {
  const int32_t kind = llmh::node_attrs<llmh_unary_attrs>(*view.node).kind;
  return all_f32(view) && kind >= LLMH_UNARY_NEG && kind <= LLMH_UNARY_STEP;
}

void run_unary(const RunContext& context, const Call& call) {
  const int32_t kind = llmh::node_attrs<llmh_unary_attrs>(*call.node).kind;
  const float* x = context.floats(call.inputs[0]);
  float* y = context.out(call.outputs[0]);
  for_elements(context, call,
               [&](int64_t at, int64_t n) { context.kernels.elementwise.unary(kind, x + at, n, y + at); });
}

void run_softcap(const RunContext& context, const Call& call) {
  const float cap = llmh::node_attrs<llmh_scalar_attrs>(*call.node).value;
  const float* x = context.floats(call.inputs[0]);
  float* y = context.out(call.outputs[0]);
  for_elements(context, call,
               [&](int64_t at, int64_t n) { context.kernels.elementwise.softcap(cap, x + at, n, y + at); });
}

void run_scale(const RunContext& context, const Call& call) {
  const float factor = llmh::node_attrs<llmh_scalar_attrs>(*call.node).value;
  const float* x = context.floats(call.inputs[0]);
  float* y = context.out(call.outputs[0]);
  for_elements(context, call,
               [&](int64_t at, int64_t n) { context.kernels.elementwise.scale(factor, x + at, n, y + at); });
}

void run_clamp(const RunContext& context, const Call& call) {
  const auto attrs = llmh::node_attrs<llmh_clamp_attrs>(*call.node);
  const float* x = context.floats(call.inputs[0]);
  float* y = context.out(call.outputs[0]);
  for_elements(context, call, [&](int64_t at, int64_t n) {
    context.kernels.elementwise.clamp(attrs.min, attrs.max, x + at, n, y + at);
  });
}

// Element strides of an operand along the result's dimensions; 0 where it is stretched.
void broadcast_strides(const Shape& operand, const Shape& result, int64_t* strides) {
  int64_t stride = 1;
  for (int32_t i = 1; i <= operand.rank; ++i) {
    const int64_t size = operand.dims[operand.rank - i];
    strides[result.rank - i] = size == 1 ? 0 : stride;
    stride *= size;
  }
}

void run_binary(const RunContext& context, const Call& call) {
  const auto op = static_cast<BinaryOp>(call.node->op - LLMH_OP_ADD);
  const Shape left = context.shape(call.inputs[0]);
  const Shape right = context.shape(call.inputs[1]);
  const Shape result = context.shape(call.outputs[0]);
  const float* a = context.floats(call.inputs[0]);
  const float* b = context.floats(call.inputs[1]);
  float* y = context.out(call.outputs[0]);
  const int64_t count = result.count();
  if (count == 0) return;
  StridedWalk<2> walk(result);
  broadcast_strides(left, result, walk.strides[0]);
  broadcast_strides(right, result, walk.strides[1]);
  walk.merge();
  const int64_t a_step = walk.step(0);
  const int64_t b_step = walk.step(1);
  const auto binary = context.kernels.elementwise.binary;
  if (walk.rank == 1) {
    context.parallel_ranges(count, kGrain, [&](int64_t begin, int64_t end, int32_t) {
      binary(op, a + begin * a_step, a_step, b + begin * b_step, b_step, end - begin, y + begin);
    });
    return;
  }
  const int64_t n = walk.row();
  context.parallel_ranges(walk.rows(), kGrain / n + 1, [&](int64_t begin, int64_t end, int32_t) {
    walk.for_rows(begin, end, [&](int64_t row, const int64_t* offsets) {
      binary(op, a + offsets[0], a_step, b + offsets[1], b_step, n, y + row * n);
    });
  });
}

constexpr OpEntry kEntries[] = {
    {.op = LLMH_OP_ACTIVATION, .supports = supports_activation, .run = run_activation, .is_row_wise = true},
    {.op = LLMH_OP_GATED_ACTIVATION, .supports = supports_activation, .run = run_gated, .is_row_wise = true},
    {.op = LLMH_OP_UNARY, .supports = supports_unary, .run = run_unary, .is_row_wise = true},
    {.op = LLMH_OP_SOFTCAP, .supports = all_f32, .run = run_softcap, .is_row_wise = true},
    {.op = LLMH_OP_SCALE, .supports = all_f32, .run = run_scale, .is_row_wise = true},
    {.op = LLMH_OP_CLAMP, .supports = all_f32, .run = run_clamp, .is_row_wise = true},
    {.op = LLMH_OP_ADD, .supports = all_f32, .run = run_binary, .is_row_wise = true},
    {.op = LLMH_OP_SUB, .supports = all_f32, .run = run_binary, .is_row_wise = true},
    {.op = LLMH_OP_MUL, .supports = all_f32, .run = run_binary, .is_row_wise = true},
    {.op = LLMH_OP_DIV, .supports = all_f32, .run = run_binary, .is_row_wise = true},
};

}  // namespace

OpList elementwise_ops() {
  return {kEntries, std::size(kEntries)};
}

}  // namespace llmhost::cpu
