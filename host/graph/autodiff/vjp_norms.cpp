// Gradients of normalisations.
#include "graph/autodiff/vjp_families.h"

namespace llmhost::graph::vjp {
namespace {

const llmh_norm_attrs& checked_attrs(const VjpCall& call) {
  const auto& attrs = call.as<llmh_norm_attrs>();
  if (attrs.adapter_site != 0) call.refuse("it is a site of adapters that are served");
  return attrs;
}

}  // namespace

void rms_norm(VjpCall& call) {
  const auto& attrs = checked_attrs(call);
  Emit& emit = call.emit();
  if (call.wants(1)) call.give(1, emit.op(LLMH_OP_RMS_NORM_WEIGHT_GRAD, {call.in(0), call.dy()}, attrs));
  if (call.wants(0)) call.give(0, emit.op(LLMH_OP_RMS_NORM_GRAD, {call.in(0), call.in(1), call.dy()}, attrs));
}

void layer_norm(VjpCall& call) {
  const auto& attrs = checked_attrs(call);
  Emit& emit = call.emit();
  if (call.wants(2)) call.give(2, emit.reduce_to(call.dy(), call.in_type(2).dims));
  if (call.wants(1)) call.give(1, emit.op(LLMH_OP_LAYER_NORM_WEIGHT_GRAD, {call.in(0), call.dy()}, attrs));
  if (call.wants(0))
    call.give(0, emit.op(LLMH_OP_LAYER_NORM_GRAD, {call.in(0), call.in(1), call.dy()}, attrs));
}

// sum = a + b, y = rms_norm(sum).
void add_rms_norm(VjpCall& call) {
  const auto& attrs = checked_attrs(call);
  Emit& emit = call.emit();
  if (call.wants(2) && call.has_dy(1))
    call.give(2, emit.op(LLMH_OP_RMS_NORM_WEIGHT_GRAD, {call.out(0), call.dy(1)}, attrs));
  if (!call.wants(0) && !call.wants(1)) return;
  llmh_tensor gradient = call.dy(0);
  if (call.has_dy(1)) {
    const llmh_tensor through = emit.op(LLMH_OP_RMS_NORM_GRAD, {call.out(0), call.in(2), call.dy(1)}, attrs);
    gradient = gradient == LLMH_NO_TENSOR ? through : emit.add(gradient, through);
  }
  for (uint32_t i = 0; i < 2; ++i)
    if (call.wants(i)) call.give(i, gradient);
}

}  // namespace llmhost::graph::vjp
