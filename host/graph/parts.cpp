// Decompositions of the composite ops, attention apart.
#include <cmath>
#include <limits>
#include <numbers>

#include "graph/decompose.h"
#include "graph/emit.h"

namespace llmhost::graph::parts {
namespace {

// normalised * (weight + offset) + bias, as far as they are there.
llmh_tensor weighted(Emit& emit, llmh_tensor normalised, llmh_tensor weight, float offset, llmh_tensor bias) {
  llmh_tensor result = normalised;
  if (weight != LLMH_NO_TENSOR) result = emit.mul(result, offset == 0 ? weight : emit.add(weight, offset));
  return bias != LLMH_NO_TENSOR ? emit.add(result, bias) : result;
}

// x / sqrt(mean(x^2) + eps)
llmh_tensor over_root_mean_square(Emit& emit, llmh_tensor x, float eps) {
  const llmh_tensor mean = emit.reduce(LLMH_REDUCE_MEAN, emit.unary(LLMH_UNARY_SQUARE, x));
  return emit.mul(x, emit.unary(LLMH_UNARY_RSQRT, emit.add(mean, eps)));
}

// The larger of each row's x [...,1] and a constant.
llmh_tensor at_least(Emit& emit, llmh_tensor x, float least) {
  const Dims dims = emit.dims(x);
  const llmh_tensor floor = emit.broadcast(emit.graph().scalar(least), dims);
  return emit.reduce(LLMH_REDUCE_MAX, emit.concat({x, floor}, dims.size() - 1));
}

// Parts would run the base's weights for every row.
void require_no_site(const CompositeNode& node) {
  const int32_t site = node.as<llmh_norm_attrs>().adapter_site;
  if (site != 0)
    throw_error(
        ErrorCode::kUnimplemented,
        "norm at {}: the backend does not run norms that adapters replace (site {}); leave norms out of "
        "the adapters' sites",
        node.path, site);
}

llmh_tensor rotated(Emit& emit, llmh_tensor x, llmh_tensor cos, llmh_tensor sin, int32_t style) {
  const Dims dims = emit.dims(x);  // [T,H,Dr]
  const int64_t rotary = dims[2].size;
  if (style == LLMH_ROPE_HALVES) {
    const llmh_tensor first = emit.slice(x, 2, 0, rotary / 2);
    const llmh_tensor second = emit.slice(x, 2, rotary / 2, rotary);
    return emit.concat({emit.sub(emit.mul(first, cos), emit.mul(second, sin)),
                        emit.add(emit.mul(second, cos), emit.mul(first, sin))},
                       2);
  }
  const Dims pair_dims = {dims[0], dims[1], constant_dim(rotary / 2), constant_dim(2)};
  const Dims half_dims = {dims[0], dims[1], constant_dim(rotary / 2)};
  const Dims single_dims = {dims[0], dims[1], constant_dim(rotary / 2), constant_dim(1)};
  const llmh_tensor pairs = emit.reshape(x, pair_dims);
  const llmh_tensor even = emit.reshape(emit.slice(pairs, 3, 0, 1), half_dims);
  const llmh_tensor odd = emit.reshape(emit.slice(pairs, 3, 1, 2), half_dims);
  const llmh_tensor new_even = emit.sub(emit.mul(even, cos), emit.mul(odd, sin));
  const llmh_tensor new_odd = emit.add(emit.mul(odd, cos), emit.mul(even, sin));
  return emit.reshape(
      emit.concat({emit.reshape(new_even, single_dims), emit.reshape(new_odd, single_dims)}, 3), dims);
}

llmh_tensor gelu_tanh(Emit& emit, llmh_tensor x) {
  const llmh_tensor cube = emit.mul(emit.unary(LLMH_UNARY_SQUARE, x), x);
  const llmh_tensor inner = emit.add(x, emit.mul(cube, 0.044715F));
  const auto root = static_cast<float>(std::sqrt(2.0 * std::numbers::inv_pi));
  const llmh_tensor tanh = emit.unary(LLMH_UNARY_TANH, emit.mul(inner, root));
  return emit.mul(emit.mul(x, 0.5F), emit.add(tanh, 1.0F));
}

}  // namespace

Tensors embedding(const CompositeNode& node) {
  Emit emit(node.graph, node.path);
  const Dims id_dims = emit.dims(node.in(1));
  const llmh_tensor ids = id_dims.size() == 1 ? node.in(1) : emit.reshape(node.in(1), {flattened(id_dims)});
  llmh_tensor rows = emit.cast(emit.gather(node.in(0), ids), LLMH_DTYPE_F32);
  if (id_dims.size() != 1) {
    Dims dims = id_dims;
    dims.push_back(emit.dims(rows)[1]);
    rows = emit.reshape(rows, dims);
  }
  return {rows};
}

Tensors linear(const CompositeNode& node) {
  Emit emit(node.graph, node.path);
  const Dims x_dims = emit.dims(node.in(0));
  llmh_tensor x = node.in(0);
  if (x_dims.size() == 1) x = emit.reshape(x, {constant_dim(1), x_dims[0]});
  llmh_tensor y = emit.matmul(x, node.in(1), true);
  if (x_dims.size() == 1) y = emit.reshape(y, {emit.dims(y)[1]});
  return {node.in(2) != LLMH_NO_TENSOR ? emit.add(y, node.in(2)) : y};
}

// Every row gets the matrix of its expert, one after another: T*S products of one row.
Tensors expert_linear(const CompositeNode& node) {
  Emit emit(node.graph, node.path);
  const Dims ids_dims = emit.dims(node.in(2));  // [T,S]
  const llmh_dim rows = flattened(ids_dims);
  const llmh_tensor ids = emit.reshape(node.in(2), {rows});
  llmh_tensor x = node.in(0);
  const llmh_dim depth = emit.dims(x).back();
  if (emit.dims(x).size() == 2)
    x = emit.broadcast(emit.reshape(x, {ids_dims[0], constant_dim(1), depth}),
                       {ids_dims[0], ids_dims[1], depth});
  const llmh_tensor matrices = emit.cast(emit.gather(node.in(1), ids), LLMH_DTYPE_F32);
  const llmh_tensor products = emit.matmul(emit.reshape(x, {rows, constant_dim(1), depth}), matrices, true);
  const Dims result = {ids_dims[0], ids_dims[1], emit.dims(products).back()};
  const llmh_tensor y = emit.reshape(products, result);
  if (node.in(3) == LLMH_NO_TENSOR) return {y};
  return {emit.add(y, emit.reshape(emit.gather(node.in(3), ids), result))};
}

Tensors rms_norm(const CompositeNode& node) {
  require_no_site(node);
  Emit emit(node.graph, node.path);
  const auto& attrs = node.as<llmh_norm_attrs>();
  const llmh_tensor normalised = over_root_mean_square(emit, node.in(0), attrs.eps);
  return {weighted(emit, normalised, node.in(1), attrs.weight_offset, LLMH_NO_TENSOR)};
}

Tensors layer_norm(const CompositeNode& node) {
  require_no_site(node);
  Emit emit(node.graph, node.path);
  const auto& attrs = node.as<llmh_norm_attrs>();
  const llmh_tensor centred = emit.sub(node.in(0), emit.reduce(LLMH_REDUCE_MEAN, node.in(0)));
  const llmh_tensor normalised = over_root_mean_square(emit, centred, attrs.eps);
  return {weighted(emit, normalised, node.in(1), attrs.weight_offset, node.in(2))};
}

Tensors add_rms_norm(const CompositeNode& node) {
  Emit emit(node.graph, node.path);
  const llmh_tensor sum = emit.add(node.in(0), node.in(1));
  return {sum, emit.op(LLMH_OP_RMS_NORM, {sum, node.in(2)}, node.as<llmh_norm_attrs>())};
}

Tensors rope(const CompositeNode& node) {
  Emit emit(node.graph, node.path);
  const auto& attrs = node.as<llmh_rope_attrs>();
  const Dims dims = emit.dims(node.in(0));
  const llmh_dim heads = constant_dim(attrs.n_heads);
  const llmh_tensor x = emit.reshape(node.in(0), {dims[0], heads, constant_dim(attrs.head_dim)});
  const Dims angle_dims = {dims[0], constant_dim(1), constant_dim(attrs.rotary_dim / 2)};
  const llmh_tensor cos = emit.reshape(node.in(1), angle_dims);
  const llmh_tensor sin = emit.reshape(node.in(2), angle_dims);
  if (attrs.rotary_dim == attrs.head_dim)
    return {emit.reshape(rotated(emit, emit.cast(x, LLMH_DTYPE_F32), cos, sin, attrs.style), dims)};
  const llmh_tensor wide = emit.cast(x, LLMH_DTYPE_F32);
  const llmh_tensor turned = rotated(emit, emit.slice(wide, 2, 0, attrs.rotary_dim), cos, sin, attrs.style);
  const llmh_tensor rest = emit.slice(wide, 2, attrs.rotary_dim, attrs.head_dim);
  return {emit.reshape(emit.concat({turned, rest}, 2), dims)};
}

Tensors activation(const CompositeNode& node) {
  Emit emit(node.graph, node.path);
  const llmh_tensor x = node.in(0);
  switch (node.as<llmh_activation_attrs>().kind) {
    case LLMH_ACT_SILU:
      return {emit.mul(x, emit.unary(LLMH_UNARY_SIGMOID, x))};
    case LLMH_ACT_GELU: {
      const llmh_tensor erf = emit.unary(LLMH_UNARY_ERF, emit.mul(x, std::numbers::sqrt2_v<float> / 2));
      return {emit.mul(emit.mul(x, 0.5F), emit.add(erf, 1.0F))};
    }
    case LLMH_ACT_GELU_TANH:
      return {gelu_tanh(emit, x)};
    case LLMH_ACT_RELU:
      return {emit.unary(LLMH_UNARY_RELU, x)};
    case LLMH_ACT_RELU_SQUARED:
      return {emit.unary(LLMH_UNARY_SQUARE, emit.unary(LLMH_UNARY_RELU, x))};
    case LLMH_ACT_SIGMOID:
      return {emit.unary(LLMH_UNARY_SIGMOID, x)};
    case LLMH_ACT_TANH:
      return {emit.unary(LLMH_UNARY_TANH, x)};
    default:
      return {emit.mul(x, emit.unary(LLMH_UNARY_SIGMOID, emit.mul(x, 1.702F)))};
  }
}

Tensors gated_activation(const CompositeNode& node) {
  Emit emit(node.graph, node.path);
  return {emit.mul(emit.activation(node.as<llmh_activation_attrs>().kind, node.in(0)), node.in(1))};
}

Tensors softcap(const CompositeNode& node) {
  Emit emit(node.graph, node.path);
  const float cap = node.as<llmh_scalar_attrs>().value;
  return {emit.mul(emit.unary(LLMH_UNARY_TANH, emit.div(node.in(0), cap)), cap)};
}

Tensors scale(const CompositeNode& node) {
  Emit emit(node.graph, node.path);
  return {emit.mul(node.in(0), node.as<llmh_scalar_attrs>().value)};
}

// A row of -inf has no largest element to subtract and no sum to divide by: the largest is kept finite, so
// that every term is exp(-inf) = 0, and the sum is kept at 1 or more, which it is anyway where an element is
// finite.
Tensors softmax(const CompositeNode& node) {
  Emit emit(node.graph, node.path);
  const llmh_tensor x = node.in(0);
  const llmh_tensor largest =
      at_least(emit, emit.reduce(LLMH_REDUCE_MAX, x), std::numeric_limits<float>::lowest());
  const llmh_tensor terms = emit.unary(LLMH_UNARY_EXP, emit.sub(x, largest));
  return {emit.div(terms, at_least(emit, emit.reduce(LLMH_REDUCE_SUM, terms), 1.0F))};
}

}  // namespace llmhost::graph::parts
