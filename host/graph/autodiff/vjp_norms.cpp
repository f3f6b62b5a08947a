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

}  // namespace llmhost::graph::vjp
