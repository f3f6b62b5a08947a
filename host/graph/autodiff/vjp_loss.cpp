// Gradients of losses.
#include "graph/autodiff/vjp_families.h"

namespace llmhost::graph::vjp {

void cross_entropy(VjpCall& call) {
  if (call.wants(0))
    call.give(0, call.emit().op(LLMH_OP_CROSS_ENTROPY_GRAD, {call.in(0), call.in(1), call.dy()}));
}

// The op gives the gradient of the sum of the losses by itself.
void linear_cross_entropy(VjpCall& call) {
  if (call.wants(1) || call.wants(2)) call.refuse("the output head is trained, which takes the logits");
  if (call.has_dy(1)) call.refuse("second derivatives are not computed");
  if (!call.wants(0)) return;
  if (call.dy_is_one()) {
    call.give(0, call.out(1));
    return;
  }
  Emit& emit = call.emit();
  const llmh_dim rows = call.out_type(0).dims[0];
  call.give(0, emit.mul(call.out(1), emit.reshape(call.dy(), {rows, constant_dim(1)})));
}

}  // namespace llmhost::graph::vjp
