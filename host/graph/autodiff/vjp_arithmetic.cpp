// Gradients of elementwise arithmetic, which stretches its operands, and of reductions.
#include <algorithm>
#include <cmath>

#include "graph/autodiff/vjp_families.h"

namespace llmhost::graph::vjp {
namespace {

// 1 where x is at most `bound`, else 0.
llmh_tensor is_at_most(Emit& emit, llmh_tensor x, float bound) {
  const llmh_tensor is_above = emit.unary(LLMH_UNARY_STEP, emit.sub(x, bound));
  return emit.sub(emit.graph().scalar(1.0F), is_above);
}

llmh_tensor is_at_least(Emit& emit, llmh_tensor x, float bound) {
  const llmh_tensor is_below = emit.unary(LLMH_UNARY_STEP, emit.sub(emit.graph().scalar(bound), x));
  return emit.sub(emit.graph().scalar(1.0F), is_below);
}

}  // namespace

void add(VjpCall& call) {
  for (uint32_t i = 0; i < 2; ++i)
    if (call.wants(i)) call.give_stretched(i, call.dy());
}

void sub(VjpCall& call) {
  if (call.wants(0)) call.give_stretched(0, call.dy());
  if (call.wants(1)) call.give_stretched(1, call.emit().unary(LLMH_UNARY_NEG, call.dy()));
}

void mul(VjpCall& call) {
  for (uint32_t i = 0; i < 2; ++i)
    if (call.wants(i)) call.give_stretched(i, call.emit().mul(call.dy(), call.in(1 - i)));
}

// y = a / b: da = dy / b, db = -dy y / b.
void div(VjpCall& call) {
  Emit& emit = call.emit();
  const llmh_tensor over = emit.div(call.dy(), call.in(1));
  if (call.wants(0)) call.give_stretched(0, over);
  if (call.wants(1)) call.give_stretched(1, emit.unary(LLMH_UNARY_NEG, emit.mul(over, call.out())));
}

void scale(VjpCall& call) {
  if (call.wants(0)) call.give(0, call.emit().scale(call.dy(), call.as<llmh_scalar_attrs>().value));
}

// y = c tanh(x / c): dx = dy (1 - (y / c)^2).
void softcap(VjpCall& call) {
  if (!call.wants(0)) return;
  Emit& emit = call.emit();
  const llmh_tensor tanh = emit.div(call.out(), call.as<llmh_scalar_attrs>().value);
  const llmh_tensor slope = emit.sub(emit.graph().scalar(1.0F), emit.unary(LLMH_UNARY_SQUARE, tanh));
  call.give(0, emit.mul(call.dy(), slope));
}

// A value at a bound counts as inside.
void clamp(VjpCall& call) {
  if (!call.wants(0)) return;
  Emit& emit = call.emit();
  const auto& attrs = call.as<llmh_clamp_attrs>();
  llmh_tensor gradient = call.dy();
  if (std::isfinite(attrs.max)) gradient = emit.mul(gradient, is_at_most(emit, call.in(0), attrs.max));
  if (std::isfinite(attrs.min)) gradient = emit.mul(gradient, is_at_least(emit, call.in(0), attrs.min));
  call.give(0, gradient);
}

// The largest of several equal elements is the first.
void reduce(VjpCall& call) {
  if (!call.wants(0)) return;
  Emit& emit = call.emit();
  const Dims dims = call.in_type(0).dims;
  const int32_t kind = call.as<llmh_reduce_attrs>().kind;
  if (kind != LLMH_REDUCE_SUM && dims.back().symbol != LLMH_DIM_CONST)
    call.refuse("the number of elements that it reduces is not known before a step");
  if (kind == LLMH_REDUCE_MAX) {
    auto largest = make_attrs<llmh_top_k_attrs>();
    largest.k = 1;
    call.give(0, emit.mul(emit.op(LLMH_OP_TOP_K_MASK, {call.in(0)}, largest), call.dy()));
    return;
  }
  llmh_tensor gradient = call.dy();
  if (kind == LLMH_REDUCE_MEAN) gradient = emit.scale(gradient, 1.0F / static_cast<float>(dims.back().size));
  call.give(0, emit.broadcast(gradient, dims));
}

void softmax(VjpCall& call) {
  if (call.wants(0)) call.give(0, call.emit().op(LLMH_OP_SOFTMAX_GRAD, {call.out(), call.dy()}));
}

}  // namespace llmhost::graph::vjp
