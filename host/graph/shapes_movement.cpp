#include <algorithm>
#include <array>

#include "graph/shapes.h"

namespace llmhost::graph::shapes {

Dims checked_dims(const NodeView& node, const llmh_shape_attrs& attrs) {
  if (attrs.rank < 0 || attrs.rank > LLMH_MAX_RANK)
    node.fail("rank {} is outside 0 to {}", attrs.rank, int{LLMH_MAX_RANK});
  Dims dims(attrs.dims, attrs.dims + attrs.rank);
  for (const llmh_dim& dim : dims)
    if (dim.size < 0 || dim.symbol < LLMH_DIM_CONST || dim.symbol > LLMH_DIM_STATE)
      node.fail("dimension {} of symbol {} is none", dim.size, dim.symbol);
  return dims;
}

size_t checked_axis(const NodeView& node, int32_t axis, const Dims& dims) {
  if (axis < 0 || static_cast<size_t>(axis) >= dims.size())
    node.fail("axis {} is outside {}", axis, to_text(dims));
  return static_cast<size_t>(axis);
}

void want_constant_axis(const NodeView& node, const Dims& dims, size_t axis) {
  if (dims[axis].symbol != LLMH_DIM_CONST)
    node.fail("axis {} of {} has no constant size", axis, to_text(dims));
}

Types reshape(const NodeView& node) {
  want_plain(node, 0);
  Dims dims = checked_dims(node, node.as<llmh_shape_attrs>());
  if (!same_element_count(node.in(0).dims, dims))
    node.fail("{} has not as many elements as {}", to_text(node.in(0).dims), to_text(dims));
  return {{node.in(0).dtype, std::move(dims)}};
}

Types permute(const NodeView& node) {
  want_plain(node, 0);
  const auto& attrs = node.as<llmh_permute_attrs>();
  const Dims& x = node.in(0).dims;
  if (attrs.rank < 0 || static_cast<size_t>(attrs.rank) != x.size())
    node.fail("{} axes are given for {}", attrs.rank, to_text(x));
  std::array<bool, LLMH_MAX_RANK> seen{};
  Dims dims;
  for (int32_t i = 0; i < attrs.rank; ++i) {
    const size_t axis = checked_axis(node, attrs.axes[i], x);
    if (seen[axis]) node.fail("axis {} is given twice", axis);
    seen[axis] = true;
    dims.push_back(x[axis]);
  }
  return {{node.in(0).dtype, std::move(dims)}};
}

Types slice(const NodeView& node) {
  want_plain(node, 0);
  const auto& attrs = node.as<llmh_slice_attrs>();
  Dims dims = node.in(0).dims;
  const size_t axis = checked_axis(node, attrs.axis, dims);
  want_constant_axis(node, dims, axis);
  if (attrs.begin < 0 || attrs.begin > attrs.end || attrs.end > dims[axis].size)
    node.fail("[{},{}) is outside axis {} of {}", attrs.begin, attrs.end, axis, to_text(dims));
  dims[axis].size = attrs.end - attrs.begin;
  return {{node.in(0).dtype, std::move(dims)}};
}

Types concat(const NodeView& node) {
  Dims dims = node.in(0).dims;
  const size_t axis = checked_axis(node, node.as<llmh_axis_attrs>().axis, dims);
  int64_t total = 0;
  for (size_t i = 0; i < node.inputs.size(); ++i) {
    want_plain(node, i);
    Dims other = node.in(i).dims;
    if (node.in(i).dtype != node.in(0).dtype)
      node.fail("input {} is {}, the first is {}", i, dtype_name(node.in(i).dtype),
                dtype_name(node.in(0).dtype));
    if (other.size() != dims.size())
      node.fail("input {} is {}, the first is {}", i, to_text(other), to_text(dims));
    want_constant_axis(node, other, axis);
    if (__builtin_add_overflow(total, other[axis].size, &total)) node.fail("axis {} is too long", axis);
    other[axis] = dims[axis];
    if (!same_dims(other, dims))
      node.fail("input {} is {}, the first is {}: they differ beside axis {}", i, to_text(node.in(i).dims),
                to_text(dims), axis);
  }
  dims[axis].size = total;
  return {{node.in(0).dtype, std::move(dims)}};
}

Types broadcast(const NodeView& node) {
  want_plain(node, 0);
  Dims dims = checked_dims(node, node.as<llmh_shape_attrs>());
  if (!same_dims(broadcast_dims(node, node.in(0).dims, dims), dims))
    node.fail("{} does not stretch to {}", to_text(node.in(0).dims), to_text(dims));
  return {{node.in(0).dtype, std::move(dims)}};
}

Types gather(const NodeView& node) {
  want_rank_from(node, 0, 1);
  const Dims& x = node.in(0).dims;
  if (node.in(1).dtype != LLMH_DTYPE_I32 || node.in(1).dims.size() != 1)
    node.fail("ids are {}{}, they must be i32[M]", dtype_name(node.in(1).dtype), to_text(node.in(1).dims));
  if (x.size() == 1) want_plain(node, 0);
  Dims dims = x;
  dims[0] = node.in(1).dims[0];
  return {{node.in(0).dtype, std::move(dims)}};
}

Types cast(const NodeView& node) {
  const llmh_dtype from = node.in(0).dtype;
  const llmh_dtype to = node.as<llmh_cast_attrs>().dtype;
  if (!is_float(to) && to != LLMH_DTYPE_I32)
    node.fail("{} is no type to cast to: f32, f16, bf16, f64 and i32 are", dtype_name(to));
  if (!is_float(from) && !is_quantised(from) && from != LLMH_DTYPE_I32)
    node.fail("x is {}, which cannot be cast", dtype_name(from));
  if (is_quantised(from) && to != LLMH_DTYPE_F32)
    node.fail("x is {}, which decodes to f32 only, not to {}", dtype_name(from), dtype_name(to));
  return {{to, node.in(0).dims}};
}

Types state_write(const NodeView& node) {
  if (node.as<llmh_state_attrs>().slot < 0) node.fail("slot is {}", node.as<llmh_state_attrs>().slot);
  for (size_t i = 0; i < 2; ++i) {
    want_float(node, i);
    const Dims& dims = node.in(i).dims;
    if (dims.size() != 2 || !same_dim(dims[0], symbol_dim(LLMH_DIM_TOKENS)) ||
        dims[1].symbol != LLMH_DIM_CONST)
      node.fail("{} is {}, it must be [T,W]", node.input_names[i], to_text(dims));
  }
  return {};
}

Types state_read(const NodeView& node) {
  const auto& attrs = node.as<llmh_state_attrs>();
  if (attrs.slot < 0) node.fail("slot is {}", attrs.slot);
  if (attrs.part != LLMH_PART_KEYS && attrs.part != LLMH_PART_VALUES)
    node.fail("part {} is unknown", attrs.part);
  if (attrs.width <= 0) node.fail("width is {}, it must be positive", attrs.width);
  return {{LLMH_DTYPE_F32, {symbol_dim(LLMH_DIM_STATE), constant_dim(attrs.width)}}};
}

Types mask(const NodeView& node) {
  const auto& attrs = node.as<llmh_mask_attrs>();
  check_visibility(node, attrs);
  Types types = distance(node);
  if (attrs.block_size == 0) {
    if (attrs.n_heads != 0) node.fail("n_heads is {} without block_size", attrs.n_heads);
    return types;
  }
  if (attrs.n_heads < 1) node.fail("n_heads is {}, sparse blocks need it", attrs.n_heads);
  types[0].dims.insert(types[0].dims.begin(), constant_dim(attrs.n_heads));
  return types;
}

Types distance(const NodeView&) {
  return {{LLMH_DTYPE_F32, {symbol_dim(LLMH_DIM_TOKENS), symbol_dim(LLMH_DIM_STATE)}}};
}

Types top_k(const NodeView& node) {
  want_float(node, 0);
  want_rank_from(node, 0, 1);
  const int32_t k = node.as<llmh_top_k_attrs>().k;
  Dims dims = node.in(0).dims;
  want_constant_axis(node, dims, dims.size() - 1);
  if (k < 1 || k > dims.back().size) node.fail("k is {}, x is {}", k, to_text(dims));
  if (node.op == LLMH_OP_TOP_K_MASK) return {{LLMH_DTYPE_F32, std::move(dims)}};
  dims.back().size = k;
  return {{LLMH_DTYPE_F32, dims}, {LLMH_DTYPE_I32, dims}};
}

Types take(const NodeView& node) {
  want_plain(node, 0);
  want_rank_from(node, 0, 1);
  const Dims& x = node.in(0).dims;
  const Dims& ids = node.in(1).dims;
  if (node.in(1).dtype != LLMH_DTYPE_I32)
    node.fail("ids are {}, they must be i32", dtype_name(node.in(1).dtype));
  const auto rows = [](const Dims& dims) { return std::span(dims).first(dims.size() - 1); };
  if (ids.size() != x.size() || !same_dims(rows(ids), rows(x)))
    node.fail("x is {}, ids are {}: they may differ in the last dimension only", to_text(x), to_text(ids));
  return {{node.in(0).dtype, ids}};
}

}  // namespace llmhost::graph::shapes
