#include "graph/emit.h"

#include "core/error.h"

namespace llmhost::graph {
namespace {

template <typename Attrs>
Attrs shape_attrs(const Dims& dims) {
  if (dims.size() > LLMH_MAX_RANK)
    throw_invalid("{} has more than {} dimensions", to_text(dims), int{LLMH_MAX_RANK});
  auto attrs = make_attrs<Attrs>();
  attrs.rank = static_cast<int32_t>(dims.size());
  for (size_t i = 0; i < dims.size(); ++i) attrs.dims[i] = dims[i];
  return attrs;
}

template <typename Attrs>
Attrs kind_attrs(int32_t kind) {
  auto attrs = make_attrs<Attrs>();
  attrs.kind = kind;
  return attrs;
}

}  // namespace

llmh_tensor Emit::with_attrs(llmh_op op, std::span<const llmh_tensor> inputs, const void* attrs,
                             size_t size) {
  return graph_.add_node(op, path_, inputs, attrs, size).at(0);
}

llmh_tensor Emit::op(llmh_op op, std::initializer_list<llmh_tensor> inputs) {
  return with_attrs(op, std::span<const llmh_tensor>(inputs.begin(), inputs.size()), nullptr, 0);
}

llmh_tensor Emit::unary(int32_t kind, llmh_tensor x) {
  return op(LLMH_OP_UNARY, {x}, kind_attrs<llmh_unary_attrs>(kind));
}

llmh_tensor Emit::reduce(int32_t kind, llmh_tensor x) {
  return op(LLMH_OP_REDUCE, {x}, kind_attrs<llmh_reduce_attrs>(kind));
}

llmh_tensor Emit::matmul(llmh_tensor a, llmh_tensor b, bool transpose_b) {
  auto attrs = make_attrs<llmh_matmul_attrs>();
  attrs.transpose_b = transpose_b ? 1 : 0;
  return op(LLMH_OP_MATMUL, {a, b}, attrs);
}

llmh_tensor Emit::reshape(llmh_tensor x, const Dims& dims) {
  return op(LLMH_OP_RESHAPE, {x}, shape_attrs<llmh_shape_attrs>(dims));
}

llmh_tensor Emit::broadcast(llmh_tensor x, const Dims& dims) {
  return op(LLMH_OP_BROADCAST, {x}, shape_attrs<llmh_shape_attrs>(dims));
}

llmh_tensor Emit::reduce_to(llmh_tensor x, const Dims& dims) {
  return op(LLMH_OP_REDUCE_TO, {x}, shape_attrs<llmh_shape_attrs>(dims));
}

llmh_tensor Emit::scatter_add(llmh_tensor x, llmh_tensor ids, const Dims& dims) {
  return op(LLMH_OP_SCATTER_ADD, {x, ids}, shape_attrs<llmh_shape_attrs>(dims));
}

llmh_tensor Emit::pad(llmh_tensor x, size_t axis, int64_t begin, int64_t size) {
  auto attrs = make_attrs<llmh_pad_attrs>();
  attrs.axis = static_cast<int32_t>(axis);
  attrs.begin = begin;
  attrs.size = size;
  return op(LLMH_OP_PAD, {x}, attrs);
}

llmh_tensor Emit::permute(llmh_tensor x, std::span<const int32_t> axes) {
  if (axes.size() > LLMH_MAX_RANK) throw_invalid("permute: {} axes", axes.size());
  auto attrs = make_attrs<llmh_permute_attrs>();
  attrs.rank = static_cast<int32_t>(axes.size());
  for (size_t i = 0; i < axes.size(); ++i) attrs.axes[i] = axes[i];
  return op(LLMH_OP_PERMUTE, {x}, attrs);
}

llmh_tensor Emit::permute(llmh_tensor x, std::initializer_list<int32_t> axes) {
  return permute(x, std::span<const int32_t>(axes.begin(), axes.size()));
}

llmh_tensor Emit::slice(llmh_tensor x, size_t axis, int64_t begin, int64_t end) {
  auto attrs = make_attrs<llmh_slice_attrs>();
  attrs.axis = static_cast<int32_t>(axis);
  attrs.begin = begin;
  attrs.end = end;
  return op(LLMH_OP_SLICE, {x}, attrs);
}

llmh_tensor Emit::concat(std::span<const llmh_tensor> parts, size_t axis) {
  auto attrs = make_attrs<llmh_axis_attrs>();
  attrs.axis = static_cast<int32_t>(axis);
  return with_attrs(LLMH_OP_CONCAT, parts, &attrs, sizeof(attrs));
}

llmh_tensor Emit::concat(std::initializer_list<llmh_tensor> parts, size_t axis) {
  return concat(std::span<const llmh_tensor>(parts.begin(), parts.size()), axis);
}

llmh_tensor Emit::cast(llmh_tensor x, llmh_dtype dtype) {
  if (graph_.tensor(x).dtype == dtype) return x;
  auto attrs = make_attrs<llmh_cast_attrs>();
  attrs.dtype = dtype;
  return op(LLMH_OP_CAST, {x}, attrs);
}

llmh_tensor Emit::activation(int32_t kind, llmh_tensor x) {
  return op(LLMH_OP_ACTIVATION, {x}, kind_attrs<llmh_activation_attrs>(kind));
}

llmh_tensor Emit::activation_grad(int32_t kind, llmh_tensor x, llmh_tensor dy) {
  return op(LLMH_OP_ACTIVATION_GRAD, {x, dy}, kind_attrs<llmh_activation_attrs>(kind));
}

llmh_tensor Emit::scale(llmh_tensor x, float value) {
  auto attrs = make_attrs<llmh_scalar_attrs>();
  attrs.value = value;
  return op(LLMH_OP_SCALE, {x}, attrs);
}

std::vector<llmh_tensor> Emit::node(llmh_op op, std::span<const llmh_tensor> inputs, const void* attrs,
                                    size_t attrs_size) {
  return graph_.add_node(op, path_, inputs, attrs, attrs_size);
}

Dims Emit::dims(llmh_tensor tensor) const {
  return type_of(graph_.tensor(tensor)).dims;
}

}  // namespace llmhost::graph
