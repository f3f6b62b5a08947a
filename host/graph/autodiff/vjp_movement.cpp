// Gradients of data movement: each op's is another one's forward pass.
#include <array>

#include "graph/autodiff/vjp_families.h"

namespace llmhost::graph::vjp {
namespace {

llmh_tensor scattered_last(VjpCall& call, llmh_tensor gradient, llmh_tensor ids) {
  const Dims dims = call.in_type(0).dims;
  if (dims.back().symbol != LLMH_DIM_CONST) call.refuse("the width that it chooses from is not constant");
  auto attrs = make_attrs<llmh_width_attrs>();
  attrs.width = dims.back().size;
  return call.emit().op(LLMH_OP_SCATTER_LAST, {gradient, ids}, attrs);
}

}  // namespace

void reshape(VjpCall& call) {
  if (call.wants(0)) call.give(0, call.emit().reshape(call.dy(), call.in_type(0).dims));
}

void permute(VjpCall& call) {
  if (!call.wants(0)) return;
  const auto& attrs = call.as<llmh_permute_attrs>();
  std::array<int32_t, LLMH_MAX_RANK> inverse{};
  for (int32_t i = 0; i < attrs.rank; ++i) inverse[static_cast<size_t>(attrs.axes[i])] = i;
  const auto rank = static_cast<size_t>(attrs.rank);
  call.give(0, call.emit().permute(call.dy(), std::span<const int32_t>(inverse).first(rank)));
}

void slice(VjpCall& call) {
  const auto& attrs = call.as<llmh_slice_attrs>();
  if (call.wants(0)) call.give_slice(0, static_cast<size_t>(attrs.axis), attrs.begin, attrs.end, call.dy());
}

void pad(VjpCall& call) {
  if (!call.wants(0)) return;
  const auto& attrs = call.as<llmh_pad_attrs>();
  const auto axis = static_cast<size_t>(attrs.axis);
  const int64_t size = call.in_type(0).dims[axis].size;
  call.give(0, call.emit().slice(call.dy(), axis, attrs.begin, attrs.begin + size));
}

void concat(VjpCall& call) {
  const auto axis = static_cast<size_t>(call.as<llmh_axis_attrs>().axis);
  int64_t begin = 0;
  for (uint32_t i = 0; i < call.node().n_inputs; ++i) {
    const int64_t end = begin + call.in_type(i).dims[axis].size;
    if (call.wants(i)) call.give(i, call.emit().slice(call.dy(), axis, begin, end));
    begin = end;
  }
}

void broadcast(VjpCall& call) {
  if (call.wants(0)) call.give(0, call.emit().reduce_to(call.dy(), call.in_type(0).dims));
}

void reduce_to(VjpCall& call) {
  if (call.wants(0)) call.give(0, call.emit().broadcast(call.dy(), call.in_type(0).dims));
}

void gather(VjpCall& call) {
  if (call.wants(0)) call.give(0, call.emit().scatter_add(call.dy(), call.in(1), call.in_type(0).dims));
}

void scatter_add(VjpCall& call) {
  if (call.wants(0)) call.give(0, call.emit().gather(call.dy(), call.in(1)));
}

void embedding(VjpCall& call) {
  if (!call.wants(0)) return;
  Emit& emit = call.emit();
  const Dims table = call.in_type(0).dims;
  const Dims ids = call.in_type(1).dims;
  if (ids.size() == 1) {
    call.give(0, emit.scatter_add(call.dy(), call.in(1), table));
    return;
  }
  const llmh_dim rows = flattened(ids);
  call.give(0, emit.scatter_add(emit.reshape(call.dy(), {rows, table[1]}), emit.reshape(call.in(1), {rows}),
                                table));
}

// Gradients are f32, whatever the value is stored as.
void cast(VjpCall& call) {
  if (call.wants(0)) call.give(0, call.dy());
}

void top_k(VjpCall& call) {
  if (call.wants(0)) call.give(0, scattered_last(call, call.dy(), call.out(1)));
}

void take(VjpCall& call) {
  if (call.wants(0)) call.give(0, scattered_last(call, call.dy(), call.in(1)));
}

void scatter_last(VjpCall& call) {
  if (call.wants(0)) call.give(0, call.emit().op(LLMH_OP_TAKE, {call.dy(), call.in(1)}));
}

}  // namespace llmhost::graph::vjp
