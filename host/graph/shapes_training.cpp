// Ops of training forward passes and the transposes of data movement.
#include <cmath>

#include "graph/shapes.h"

namespace llmhost::graph::shapes {

Types reduce_to(const NodeView& node) {
  want_float(node, 0);
  Dims dims = checked_dims(node, node.as<llmh_shape_attrs>());
  const Dims& x = node.in(0).dims;
  if (!same_dims(broadcast_dims(node, dims, x), x))
    node.fail("{} does not stretch to x, which is {}", to_text(dims), to_text(x));
  return {{LLMH_DTYPE_F32, std::move(dims)}};
}

Types pad(const NodeView& node) {
  want_plain(node, 0);
  const auto& attrs = node.as<llmh_pad_attrs>();
  Dims dims = node.in(0).dims;
  const size_t axis = checked_axis(node, attrs.axis, dims);
  want_constant_axis(node, dims, axis);
  if (attrs.begin < 0 || attrs.size < dims[axis].size || attrs.begin > attrs.size - dims[axis].size)
    node.fail("x is {}: at {} along axis {} it does not fit into {}", to_text(dims), attrs.begin, axis,
              attrs.size);
  dims[axis].size = attrs.size;
  return {{node.in(0).dtype, std::move(dims)}};
}

Types scatter_add(const NodeView& node) {
  want_float(node, 0);
  want_rank_from(node, 0, 1);
  const Dims& x = node.in(0).dims;
  want_ids(node, 1, std::span(x).first(1));
  Dims dims = checked_dims(node, node.as<llmh_shape_attrs>());
  if (dims.size() != x.size() || !same_dims(std::span(dims).subspan(1), std::span(x).subspan(1)))
    node.fail("x is {}, the result {}: they may differ in the first dimension only", to_text(x),
              to_text(dims));
  return {{LLMH_DTYPE_F32, std::move(dims)}};
}

Types scatter_last(const NodeView& node) {
  want_float(node, 0);
  want_rank_from(node, 0, 1);
  Dims dims = node.in(0).dims;
  want_ids(node, 1, dims);
  const int64_t width = node.as<llmh_width_attrs>().width;
  if (width < 1) node.fail("width is {}, it must be positive", width);
  dims.back() = constant_dim(width);
  return {{LLMH_DTYPE_F32, std::move(dims)}};
}

Types dropout(const NodeView& node) {
  const auto& attrs = node.as<llmh_dropout_attrs>();
  if (!(attrs.p >= 0 && attrs.p < 1)) node.fail("p is {}, it must be at least 0 and less than 1", attrs.p);
  want_rank_from(node, 0, 1);
  const Dims& x = node.in(0).dims;
  if (!same_dim(x[0], symbol_dim(LLMH_DIM_TOKENS)) && !same_dim(x[0], symbol_dim(LLMH_DIM_OUTPUTS)))
    node.fail("x is {}, it must have a row for each token or output", to_text(x));
  return like_input(node);
}

Types low_rank_row_norms(const NodeView& node) {
  want_decodable(node, 0);
  const Dims& weight = node.in(0).dims;
  if (weight.size() != 2) node.fail("the weight is {}, it must be [N,K]", to_text(weight));
  const float value = node.as<llmh_scalar_attrs>().value;
  if (!std::isfinite(value)) node.fail("value is {}", value);
  if (node.has(1) != node.has(2)) node.fail("a and b are given together or not at all");
  if (node.has(1)) {
    want_rank_from(node, 1, 1);
    const llmh_dim rank = node.in(1).dims[0];
    want_like(node, 1, Dims{rank, weight[1]});
    want_like(node, 2, Dims{weight[0], rank});
  }
  return {{LLMH_DTYPE_F32, {weight[0]}}};
}

Types accumulate(const NodeView& node) {
  if (node.in(0).dtype != LLMH_DTYPE_F32)
    node.fail("sum is {}, it must be f32", dtype_name(node.in(0).dtype));
  want_like(node, 1, node.in(0).dims);
  return {};
}

Types cross_entropy(const NodeView& node) {
  want_float(node, 0);
  const Dims& logits = node.in(0).dims;
  if (logits.size() != 2) node.fail("the logits are {}, they must be [R,V]", to_text(logits));
  const Dims rows = {logits[0]};
  want_ids(node, 1, rows);
  return {{LLMH_DTYPE_F32, rows}};
}

Types cross_entropy_grad(const NodeView& node) {
  want_like(node, 2, cross_entropy(node)[0].dims);
  return {{LLMH_DTYPE_F32, node.in(0).dims}};
}

Types linear_cross_entropy(const NodeView& node) {
  want_float(node, 0);
  want_decodable(node, 1);
  const Dims& x = node.in(0).dims;
  const Dims& weight = node.in(1).dims;
  if (weight.size() != 2) node.fail("the weight is {}, it must be [V,D]", to_text(weight));
  if (x.size() != 2 || !same_dim(x[1], weight[1]))
    node.fail("x is {}, the weight {} wants [R,{}]", to_text(x), to_text(weight), weight[1].size);
  if (node.has(2)) want_vector(node, 2, weight[0]);
  const Dims rows = {x[0]};
  want_ids(node, 3, rows);
  const auto& attrs = node.as<llmh_head_attrs>();
  if (!std::isfinite(attrs.value)) node.fail("value is {}", attrs.value);
  if (!(attrs.softcap >= 0) || !std::isfinite(attrs.softcap)) node.fail("softcap is {}", attrs.softcap);
  return {{LLMH_DTYPE_F32, rows}, {LLMH_DTYPE_F32, x}};
}

}  // namespace llmhost::graph::shapes
