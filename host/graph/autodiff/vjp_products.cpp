// Gradients of matrix products.
#include <array>
#include <numeric>
#include <utility>

#include "graph/autodiff/vjp_families.h"

namespace llmhost::graph::vjp {
namespace {

llmh_tensor transposed(Emit& emit, llmh_tensor x) {
  const size_t rank = emit.dims(x).size();
  std::array<int32_t, LLMH_MAX_RANK> axes{};
  std::iota(axes.begin(), axes.end(), 0);
  std::swap(axes[rank - 1], axes[rank - 2]);
  return emit.permute(x, std::span<const int32_t>(axes).first(rank));
}

// A vector as one row.
llmh_tensor as_rows(Emit& emit, llmh_tensor x) {
  const Dims dims = emit.dims(x);
  return dims.size() > 1 ? x : emit.reshape(x, {constant_dim(1), dims[0]});
}

// dy^T x over all rows.
llmh_tensor weight_gradient(Emit& emit, llmh_tensor dy, llmh_tensor x) {
  return emit.op(LLMH_OP_LINEAR_WEIGHT_GRAD, {as_rows(emit, dy), as_rows(emit, x)});
}

// The second operand of a product as floats, whatever it is stored as.
llmh_tensor plain(Emit& emit, llmh_tensor x) {
  return is_quantised(emit.graph().tensor(x).dtype) ? emit.cast(x, LLMH_DTYPE_F32) : x;
}

}  // namespace

void linear(VjpCall& call) {
  Emit& emit = call.emit();
  if (call.wants(2)) call.give_stretched(2, call.dy());
  if (call.wants(1)) call.give(1, weight_gradient(emit, call.dy(), call.in(0)));
  if (call.wants(0)) call.give(0, emit.op(LLMH_OP_LINEAR_INPUT_GRAD, {call.dy(), call.in(1)}));
}

// y = x W for x [..., N] and W [N, K].
void linear_input_grad(VjpCall& call) {
  Emit& emit = call.emit();
  if (call.wants(1)) call.give(1, weight_gradient(emit, call.in(0), call.dy()));
  if (call.wants(0)) call.give(0, emit.op(LLMH_OP_LINEAR, {call.dy(), call.in(1)}));
}

// y = a^T b over all rows.
void linear_weight_grad(VjpCall& call) {
  Emit& emit = call.emit();
  if (call.wants(0)) call.give(0, emit.op(LLMH_OP_LINEAR, {call.in(1), call.dy()}));
  if (call.wants(1)) call.give(1, emit.op(LLMH_OP_LINEAR_INPUT_GRAD, {call.in(0), call.dy()}));
}

void expert_linear(VjpCall& call) {
  Emit& emit = call.emit();
  const Dims dy_dims = call.out_type().dims;  // [T,S,N]
  const llmh_tensor ids = call.in(2);
  if (call.wants(3)) {
    const llmh_dim rows = flattened(std::span(dy_dims).first(2));
    call.give(3, emit.scatter_add(emit.reshape(call.dy(), {rows, dy_dims[2]}), emit.reshape(ids, {rows}),
                                  call.in_type(3).dims));
  }
  if (call.wants(1)) {
    auto experts = make_attrs<llmh_width_attrs>();
    experts.width = call.in_type(1).dims[0].size;
    call.give(1, emit.op(LLMH_OP_EXPERT_LINEAR_WEIGHT_GRAD, {call.dy(), call.in(0), ids}, experts));
  }
  if (!call.wants(0)) return;
  llmh_tensor gradient = emit.op(LLMH_OP_EXPERT_LINEAR_INPUT_GRAD, {call.dy(), call.in(1), ids});
  const Dims x_dims = call.in_type(0).dims;
  if (x_dims.size() == 2)  // all experts of a token read the same row
    gradient = emit.reshape(emit.reduce_to(gradient, {x_dims[0], constant_dim(1), x_dims[1]}), x_dims);
  call.give(0, gradient);
}

// y = a b, or a b^T.
void matmul(VjpCall& call) {
  Emit& emit = call.emit();
  const bool is_transposed = call.as<llmh_matmul_attrs>().transpose_b != 0;
  const bool is_linear = is_transposed && call.in_type(1).dims.size() == 2;
  if (call.wants(1)) {
    if (is_linear)
      call.give(1, weight_gradient(emit, call.dy(), call.in(0)));
    else if (is_transposed)
      call.give_stretched(1, emit.matmul(transposed(emit, call.dy()), call.in(0), false));
    else
      call.give_stretched(1, emit.matmul(transposed(emit, call.in(0)), call.dy(), false));
  }
  if (!call.wants(0)) return;
  if (is_linear)
    call.give(0, emit.op(LLMH_OP_LINEAR_INPUT_GRAD, {call.dy(), call.in(1)}));
  else
    call.give_stretched(0, emit.matmul(call.dy(), plain(emit, call.in(1)), !is_transposed));
}

}  // namespace llmhost::graph::vjp
