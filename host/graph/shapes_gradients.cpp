// Gradients of single ops.
#include <cmath>

#include "graph/shapes.h"

namespace llmhost::graph::shapes {
namespace {

void check_norm(const NodeView& node) {
  const auto& attrs = node.as<llmh_norm_attrs>();
  if (!(attrs.eps >= 0) || !std::isfinite(attrs.eps)) node.fail("eps is {}", attrs.eps);
  if (attrs.adapter_site != 0) node.fail("adapter_site is {}: gradients have no sites", attrs.adapter_site);
  want_float(node, 0);
  want_rank_from(node, 0, 1);
}

// The weight [E,N,K], or just its dims; dy [T,S,N] and ids [T,S].
void want_expert_rows(const NodeView& node, size_t ids, const llmh_dim& width) {
  const Dims& rows = node.in(ids).dims;
  if (rows.size() != 2 || rows[1].symbol != LLMH_DIM_CONST)
    node.fail("ids are {}, they must be [T,S]", to_text(rows));
  want_ids(node, ids, rows);
  want_like(node, 0, Dims{rows[0], rows[1], width});
}

}  // namespace

Types linear_input_grad(const NodeView& node) {
  want_float(node, 0);
  want_rank_from(node, 0, 1);
  want_decodable(node, 1);
  const Dims& weight = node.in(1).dims;
  if (weight.size() != 2) node.fail("the weight is {}, it must be [N,K]", to_text(weight));
  Dims dims = node.in(0).dims;
  if (!same_dim(dims.back(), weight[0]))
    node.fail("dy is {}, the weight {} wants {} columns", to_text(dims), to_text(weight), weight[0].size);
  dims.back() = weight[1];
  return {{LLMH_DTYPE_F32, std::move(dims)}};
}

Types linear_weight_grad(const NodeView& node) {
  want_rank_from(node, 0, 1);
  want_rank_from(node, 1, 1);
  Dims rows = node.in(0).dims;
  rows.back() = node.in(1).dims.back();
  want_float(node, 0);
  want_like(node, 1, rows);
  return {{LLMH_DTYPE_F32, {node.in(0).dims.back(), rows.back()}}};
}

Types expert_linear_input_grad(const NodeView& node) {
  want_decodable(node, 1);
  const Dims& weight = node.in(1).dims;
  if (weight.size() != 3) node.fail("the weight is {}, it must be [E,N,K]", to_text(weight));
  want_expert_rows(node, 2, weight[1]);
  const Dims& rows = node.in(2).dims;
  return {{LLMH_DTYPE_F32, {rows[0], rows[1], weight[2]}}};
}

Types expert_linear_weight_grad(const NodeView& node) {
  want_rank_from(node, 0, 1);
  want_rank_from(node, 1, 1);
  const llmh_dim outputs = node.in(0).dims.back();
  const llmh_dim inputs = node.in(1).dims.back();
  want_expert_rows(node, 2, outputs);
  const Dims& rows = node.in(2).dims;
  want_float(node, 1);
  if (!same_dims(node.in(1).dims, Dims{rows[0], inputs}) &&
      !same_dims(node.in(1).dims, Dims{rows[0], rows[1], inputs}))
    node.fail("x is {}, ids {} want [T,K] or [T,S,K]", to_text(node.in(1).dims), to_text(rows));
  const int64_t experts = node.as<llmh_width_attrs>().width;
  if (experts < 1) node.fail("width is {}, it must be the number of experts", experts);
  return {{LLMH_DTYPE_F32, {constant_dim(experts), outputs, inputs}}};
}

Types norm_grad(const NodeView& node) {
  check_norm(node);
  const Dims& x = node.in(0).dims;
  if (node.has(1)) want_vector(node, 1, x.back());
  want_like(node, 2, x);
  return {{LLMH_DTYPE_F32, x}};
}

Types norm_weight_grad(const NodeView& node) {
  check_norm(node);
  const Dims& x = node.in(0).dims;
  want_like(node, 1, x);
  return {{LLMH_DTYPE_F32, {x.back()}}};
}

Types activation_grad(const NodeView& node) {
  check_activation_kind(node);
  want_float(node, 0);
  want_like(node, 1, node.in(0).dims);
  return like_input(node);
}

Types gated_activation_grad(const NodeView& node) {
  check_activation_kind(node);
  want_float(node, 0);
  want_like(node, 1, node.in(0).dims);
  want_like(node, 2, node.in(0).dims);
  const TensorType like{LLMH_DTYPE_F32, node.in(0).dims};
  return {like, like};
}

Types softmax_grad(const NodeView& node) {
  want_float(node, 0);
  want_rank_from(node, 0, 1);
  want_like(node, 1, node.in(0).dims);
  return {{LLMH_DTYPE_F32, node.in(0).dims}};
}

}  // namespace llmhost::graph::shapes
