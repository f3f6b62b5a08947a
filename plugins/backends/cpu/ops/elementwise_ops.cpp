// Ops on single elements, and binary ones with broadcasting.
#include "ops/op.h"

namespace llmhost::cpu {
namespace {

// f(begin, count) over the elements of the first input, in pieces.
template <typename Body>
void for_elements(const RunContext& context, const Call& call, const Body& body) {
  context.parallel_ranges(context.shape(call.inputs[0]).count(), kGrain,
                          [&](int64_t begin, int64_t end, int32_t) { body(begin, end - begin); });
}

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
  return all_f32(view) && kind >= LLMH_UNARY_NEG && kind <= LLMH_UNARY_COS;
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

// Element strides of an operand along the result's dimensions; 0 where it is stretched.
struct Strides {
  int64_t of[LLMH_MAX_RANK] = {};
};

Strides broadcast_strides(const Shape& operand, const Shape& result) {
  Strides strides;
  int64_t stride = 1;
  for (int32_t i = 1; i <= operand.rank; ++i) {
    const int64_t size = operand.dims[operand.rank - i];
    strides.of[result.rank - i] = size == 1 ? 0 : stride;
    stride *= size;
  }
  return strides;
}

int64_t row_offset(const Shape& result, const Strides& strides, int64_t row) {
  int64_t offset = 0;
  for (int32_t axis = result.rank - 2; axis >= 0; --axis) {
    offset += row % result.dims[axis] * strides.of[axis];
    row /= result.dims[axis];
  }
  return offset;
}

bool same_shape(const Shape& a, const Shape& b) {
  if (a.rank != b.rank) return false;
  for (int32_t i = 0; i < a.rank; ++i)
    if (a.dims[i] != b.dims[i]) return false;
  return true;
}

void run_binary(const RunContext& context, const Call& call) {
  const auto op = static_cast<BinaryOp>(call.node->op - LLMH_OP_ADD);
  const Shape left = context.shape(call.inputs[0]);
  const Shape right = context.shape(call.inputs[1]);
  const Shape result = context.shape(call.outputs[0]);
  const float* a = context.floats(call.inputs[0]);
  const float* b = context.floats(call.inputs[1]);
  float* y = context.out(call.outputs[0]);
  if (same_shape(left, right)) {
    context.parallel_ranges(result.count(), kGrain, [&](int64_t begin, int64_t end, int32_t) {
      context.kernels.elementwise.binary(op, a + begin, 1, b + begin, 1, end - begin, y + begin);
    });
    return;
  }
  const Strides a_strides = broadcast_strides(left, result);
  const Strides b_strides = broadcast_strides(right, result);
  const int64_t n = result.last();
  const int64_t a_step = result.rank == 0 ? 0 : a_strides.of[result.rank - 1];
  const int64_t b_step = result.rank == 0 ? 0 : b_strides.of[result.rank - 1];
  context.parallel_ranges(
      n == 0 ? 0 : result.rows(), kGrain / (n + 1) + 1, [&](int64_t begin, int64_t end, int32_t) {
        for (int64_t row = begin; row < end; ++row)
          context.kernels.elementwise.binary(op, a + row_offset(result, a_strides, row), a_step,
                                             b + row_offset(result, b_strides, row), b_step, n, y + row * n);
      });
}

constexpr OpEntry kEntries[] = {
    {LLMH_OP_ACTIVATION, supports_activation, run_activation},
    {LLMH_OP_GATED_ACTIVATION, supports_activation, run_gated},
    {LLMH_OP_UNARY, supports_unary, run_unary},
    {LLMH_OP_SOFTCAP, all_f32, run_softcap},
    {LLMH_OP_SCALE, all_f32, run_scale},
    {LLMH_OP_ADD, all_f32, run_binary},
    {LLMH_OP_SUB, all_f32, run_binary},
    {LLMH_OP_MUL, all_f32, run_binary},
    {LLMH_OP_DIV, all_f32, run_binary},
};

}  // namespace

OpList elementwise_ops() {
  return {kEntries, std::size(kEntries)};
}

}  // namespace llmhost::cpu
