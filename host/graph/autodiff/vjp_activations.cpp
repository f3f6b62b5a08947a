// Gradients of elementwise functions.
#include <cmath>
#include <numbers>

#include "graph/autodiff/vjp_families.h"

namespace llmhost::graph::vjp {
namespace {

llmh_tensor one_minus(Emit& emit, llmh_tensor x) {
  return emit.sub(emit.graph().scalar(1.0F), x);
}

// 1 where x > 0, -1 where x < 0, else 0.
llmh_tensor sign(Emit& emit, llmh_tensor x) {
  return emit.sub(emit.unary(LLMH_UNARY_STEP, x), emit.unary(LLMH_UNARY_STEP, emit.unary(LLMH_UNARY_NEG, x)));
}

// The derivative of an elementwise function, from its input or its output.
llmh_tensor slope(VjpCall& call, int32_t kind) {
  Emit& emit = call.emit();
  switch (kind) {
    case LLMH_UNARY_EXP:
      return call.out();
    case LLMH_UNARY_LOG:
      return emit.div(emit.graph().scalar(1.0F), call.in(0));
    case LLMH_UNARY_SQRT:
      return emit.div(emit.graph().scalar(0.5F), call.out());
    case LLMH_UNARY_RSQRT:
      return emit.mul(emit.div(call.out(), call.in(0)), -0.5F);
    case LLMH_UNARY_TANH:
      return one_minus(emit, emit.unary(LLMH_UNARY_SQUARE, call.out()));
    case LLMH_UNARY_SIGMOID:
      return emit.mul(call.out(), one_minus(emit, call.out()));
    case LLMH_UNARY_ERF: {
      const llmh_tensor square = emit.unary(LLMH_UNARY_SQUARE, call.in(0));
      const llmh_tensor bell = emit.unary(LLMH_UNARY_EXP, emit.unary(LLMH_UNARY_NEG, square));
      return emit.mul(bell, 2.0F * std::numbers::inv_sqrtpi_v<float>);
    }
    case LLMH_UNARY_RELU:
      return emit.unary(LLMH_UNARY_STEP, call.in(0));
    case LLMH_UNARY_ABS:
      return sign(emit, call.in(0));
    case LLMH_UNARY_SQUARE:
      return emit.mul(call.in(0), 2.0F);
    case LLMH_UNARY_SIN:
      return emit.unary(LLMH_UNARY_COS, call.in(0));
    case LLMH_UNARY_COS:
      return emit.unary(LLMH_UNARY_NEG, emit.unary(LLMH_UNARY_SIN, call.in(0)));
    default:
      call.refuse("the gradient of this function is not known");
  }
}

}  // namespace

void unary(VjpCall& call) {
  const int32_t kind = call.as<llmh_unary_attrs>().kind;
  if (!call.wants(0) || kind == LLMH_UNARY_STEP) return;  // a step is flat
  Emit& emit = call.emit();
  if (kind == LLMH_UNARY_NEG)
    call.give(0, emit.unary(LLMH_UNARY_NEG, call.dy()));
  else
    call.give(0, emit.mul(call.dy(), slope(call, kind)));
}

void activation(VjpCall& call) {
  if (!call.wants(0)) return;
  const auto& attrs = call.as<llmh_activation_attrs>();
  call.give(0, call.emit().op(LLMH_OP_ACTIVATION_GRAD, {call.in(0), call.dy()}, attrs));
}

void gated_activation(VjpCall& call) {
  const llmh_node& node = call.node();
  const llmh_tensor inputs[] = {call.in(0), call.in(1), call.dy()};
  const auto gradients = call.emit().node(LLMH_OP_GATED_ACTIVATION_GRAD, inputs, node.attrs, node.attrs_size);
  for (uint32_t i = 0; i < 2; ++i)
    if (call.wants(i)) call.give(i, gradients[i]);
}

// The same elements are dropped: they depend on the site alone.
void dropout(VjpCall& call) {
  if (call.wants(0))
    call.give(0, call.emit().op(LLMH_OP_DROPOUT, {call.dy()}, call.as<llmh_dropout_attrs>()));
}

}  // namespace llmhost::graph::vjp
