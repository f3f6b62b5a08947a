// Shapes and small arithmetic over tensors of a graph: what the builders of decoder.hpp are written in. Header-only.
//
// An axis counts from 0, or from the end when negative. The leading dimensions of a step's tensors are symbols (tokens);
// only dimensions of constant size are sliced, joined or merged. Everything adds nodes at the root's empty path. [control]
#pragma once

#include <limits>
#include <string>
#include <vector>

#include "llmhost/graph.hpp"

namespace llmh {

// A dimension of constant size.
inline llmh_dim fixed_dim(int64_t size) {
  return {size, LLMH_DIM_CONST, 0};
}

inline std::vector<llmh_dim> dims_of(Tensor x) {
  const llmh_tensor_info& info = x.graph().info(x);
  return {info.dims, info.dims + info.rank};
}

namespace detail {

inline size_t axis_of(const std::vector<llmh_dim>& dims, int axis) {
  const int from_start = axis < 0 ? axis + static_cast<int>(dims.size()) : axis;
  if (from_start < 0 || static_cast<size_t>(from_start) >= dims.size())
    throw Error(LLMH_INVALID_ARGUMENT,
                "axis " + std::to_string(axis) + " of a tensor of rank " + std::to_string(dims.size()));
  return static_cast<size_t>(from_start);
}

inline llmh_shape_attrs shape_attrs(const std::vector<llmh_dim>& dims) {
  if (dims.size() > LLMH_MAX_RANK) throw Error(LLMH_INVALID_ARGUMENT, "a tensor of more than 6 dimensions");
  auto attrs = make_attrs<llmh_shape_attrs>();
  attrs.rank = static_cast<int32_t>(dims.size());
  for (size_t i = 0; i < dims.size(); ++i) attrs.dims[i] = dims[i];
  return attrs;
}

}  // namespace detail

// --- Shapes

inline Tensor reshape(Tensor x, const std::vector<llmh_dim>& dims) {
  return x.graph().root().op(LLMH_OP_RESHAPE, {x}, detail::shape_attrs(dims));
}

// [..., a * b] -> [..., a, b], for any number of sizes whose product is the last dimension.
inline Tensor split_last(Tensor x, const std::vector<int64_t>& sizes) {
  std::vector<llmh_dim> dims = dims_of(x);
  dims.pop_back();
  for (const int64_t size : sizes) dims.push_back(fixed_dim(size));
  return reshape(x, dims);
}

// [..., a, b] -> [..., a * b], merging the last `n` dimensions.
inline Tensor merge_last(Tensor x, int n = 2) {
  std::vector<llmh_dim> dims = dims_of(x);
  int64_t size = 1;
  for (int i = 0; i < n; ++i) {
    size *= dims.back().size;
    dims.pop_back();
  }
  dims.push_back(fixed_dim(size));
  return reshape(x, dims);
}

// Elements [begin, end) along the axis.
inline Tensor slice(Tensor x, int64_t begin, int64_t end, int axis = -1) {
  auto attrs = make_attrs<llmh_slice_attrs>();
  attrs.axis = static_cast<int32_t>(detail::axis_of(dims_of(x), axis));
  attrs.begin = begin;
  attrs.end = end;
  return x.graph().root().op(LLMH_OP_SLICE, {x}, attrs);
}

// Joined along the axis, in this order.
inline Tensor concat(const std::vector<Tensor>& parts, int axis = -1) {
  auto attrs = make_attrs<llmh_axis_attrs>();
  attrs.axis = static_cast<int32_t>(detail::axis_of(dims_of(parts.at(0)), axis));
  return parts[0].graph().root().op(LLMH_OP_CONCAT, parts, attrs);
}

// [..., 1, ...] -> [..., n, ...]: the axis of size 1 stretched.
inline Tensor stretch(Tensor x, int64_t n, int axis) {
  std::vector<llmh_dim> dims = dims_of(x);
  dims[detail::axis_of(dims, axis)] = fixed_dim(n);
  return x.graph().root().op(LLMH_OP_BROADCAST, {x}, detail::shape_attrs(dims));
}

// --- Arithmetic; see op.h for the meaning

inline Tensor operator/(Tensor a, Tensor b) {
  return a.graph().root().op(LLMH_OP_DIV, {a, b});
}

// `kind` is LLMH_UNARY_*.
inline Tensor unary(Tensor x, int32_t kind) {
  auto attrs = make_attrs<llmh_unary_attrs>();
  attrs.kind = kind;
  return x.graph().root().op(LLMH_OP_UNARY, {x}, attrs);
}

// [..., N] -> [..., 1]; `kind` is LLMH_REDUCE_*.
inline Tensor reduce(Tensor x, int32_t kind) {
  auto attrs = make_attrs<llmh_reduce_attrs>();
  attrs.kind = kind;
  return x.graph().root().op(LLMH_OP_REDUCE, {x}, attrs);
}

// Over the last dimension.
inline Tensor softmax(Tensor x) {
  return x.graph().root().op(LLMH_OP_SOFTMAX, {x});
}

inline Tensor clamp(Tensor x, float min, float max) {
  auto attrs = make_attrs<llmh_clamp_attrs>();
  attrs.min = min;
  attrs.max = max;
  return x.graph().root().op(LLMH_OP_CLAMP, {x}, attrs);
}
inline Tensor at_most(Tensor x, float max) {
  return clamp(x, -std::numeric_limits<float>::infinity(), max);
}
inline Tensor at_least(Tensor x, float min) {
  return clamp(x, min, std::numeric_limits<float>::infinity());
}

// x + value.
inline Tensor shift(Tensor x, float value) {
  Graph& graph = x.graph();
  return x + graph.constant("constant." + std::to_string(x.id()) + "." + std::to_string(value), {1}, {value});
}

// The larger of two tensors of one shape, element by element.
inline Tensor larger(Tensor a, Tensor b) {
  const int64_t width = a.width();
  return merge_last(reduce(concat({split_last(a, {width, 1}), split_last(b, {width, 1})}), LLMH_REDUCE_MAX));
}

// [..., M, K] x [..., K, N] -> [..., M, N].
inline Tensor matmul(Tensor a, Tensor b, bool transpose_b = false) {
  auto attrs = make_attrs<llmh_matmul_attrs>();
  attrs.transpose_b = transpose_b ? 1 : 0;
  return a.graph().root().op(LLMH_OP_MATMUL, {a, b}, attrs);
}

// --- Choosing

// The k largest of each row and where they were.
struct TopK {
  Tensor values;  // [..., k], descending
  Tensor ids;     // i32 [..., k]
};
inline TopK top_k(Tensor x, int64_t k) {
  auto attrs = make_attrs<llmh_top_k_attrs>();
  attrs.k = static_cast<int32_t>(k);
  const auto made = x.graph().add_node(LLMH_OP_TOP_K, {}, {x}, &attrs, sizeof attrs, 2);
  return {made[0], made[1]};
}
// 1 at the k largest of each row, 0 elsewhere.
inline Tensor top_k_mask(Tensor x, int64_t k) {
  auto attrs = make_attrs<llmh_top_k_attrs>();
  attrs.k = static_cast<int32_t>(k);
  return x.graph().root().op(LLMH_OP_TOP_K_MASK, {x}, attrs);
}
// Elements of each row by index: x [..., N], ids i32 [..., M] -> [..., M].
inline Tensor take(Tensor x, Tensor ids) {
  return x.graph().root().op(LLMH_OP_TAKE, {x, ids});
}

}  // namespace llmh
