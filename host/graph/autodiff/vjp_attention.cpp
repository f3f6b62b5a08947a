// Gradients of attention and of the rotation before it.
#include "graph/autodiff/vjp_families.h"

namespace llmhost::graph::vjp {

// The transpose of a rotation is the rotation back.
void rope(VjpCall& call) {
  if (call.wants(1) || call.wants(2)) call.refuse("the angles cannot be trained");
  if (!call.wants(0)) return;
  const llmh_tensor back = call.negated(call.in(2));
  call.give(0, call.emit().op(LLMH_OP_ROPE, {call.dy(), call.in(1), back}, call.as<llmh_rope_attrs>()));
}

void attention(VjpCall& call) {
  if (call.wants(3)) call.refuse("the slopes cannot be trained");
  if (call.has_dy(1)) call.refuse("the loss depends on the sums of its scores");
  const llmh_node& node = call.node();
  const llmh_tensor inputs[] = {call.in(0), call.in(1),  call.in(2),  call.in(3),
                                call.in(4), call.out(0), call.out(1), call.dy(0)};
  const auto gradients = call.emit().node(LLMH_OP_ATTENTION_GRAD, inputs, node.attrs, node.attrs_size);
  for (uint32_t i = 0; i < 3; ++i)
    if (call.wants(i)) call.give(i, gradients[i]);
  if (call.wants(4)) call.give(4, gradients[3]);
}

}  // namespace llmhost::graph::vjp
