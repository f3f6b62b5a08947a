// Decompositions of the composite ops of backward passes.
#include <cmath>
#include <numbers>

#include "graph/decompose.h"
#include "graph/emit.h"

namespace llmhost::graph::parts {
namespace {

// x / sqrt(mean(x^2) + eps) and what x was divided by, inverted.
struct Normalised {
  llmh_tensor rows;
  llmh_tensor inverse;  // [...,1]
};

Normalised root_mean_square(Emit& emit, llmh_tensor x, float eps) {
  const llmh_tensor mean = emit.reduce(LLMH_REDUCE_MEAN, emit.unary(LLMH_UNARY_SQUARE, x));
  const llmh_tensor inverse = emit.unary(LLMH_UNARY_RSQRT, emit.add(mean, eps));
  return {emit.mul(x, inverse), inverse};
}

llmh_tensor centred(Emit& emit, llmh_tensor x) {
  return emit.sub(x, emit.reduce(LLMH_REDUCE_MEAN, x));
}

// dy * (weight + offset): the gradient of the normalised rows.
llmh_tensor through_weight(Emit& emit, const CompositeNode& node) {
  const llmh_tensor weight = node.in(1);
  if (weight == LLMH_NO_TENSOR) return emit.cast(node.in(2), LLMH_DTYPE_F32);
  const float offset = node.as<llmh_norm_attrs>().weight_offset;
  return emit.mul(node.in(2), offset == 0 ? weight : emit.add(weight, offset));
}

// inverse * (dn - n * mean(dn * n)): the gradient of x where n is x over its root mean square.
llmh_tensor through_root_mean_square(Emit& emit, const Normalised& n, llmh_tensor dn) {
  const llmh_tensor share = emit.reduce(LLMH_REDUCE_MEAN, emit.mul(dn, n.rows));
  return emit.mul(emit.sub(dn, emit.mul(n.rows, share)), n.inverse);
}

// x * sigmoid(factor * x)
llmh_tensor sigmoid_unit_slope(Emit& emit, llmh_tensor x, float factor) {
  const llmh_tensor inner = factor == 1.0F ? x : emit.mul(x, factor);
  const llmh_tensor sigmoid = emit.unary(LLMH_UNARY_SIGMOID, inner);
  const llmh_tensor rest = emit.mul(inner, emit.sub(emit.graph().scalar(1.0F), sigmoid));
  return emit.mul(sigmoid, emit.add(rest, 1.0F));
}

// Phi(x) + x * phi(x)
llmh_tensor gelu_slope(Emit& emit, llmh_tensor x) {
  const llmh_tensor erf = emit.unary(LLMH_UNARY_ERF, emit.mul(x, std::numbers::sqrt2_v<float> / 2));
  const llmh_tensor density = emit.unary(LLMH_UNARY_EXP, emit.mul(emit.unary(LLMH_UNARY_SQUARE, x), -0.5F));
  const auto height = static_cast<float>(std::numbers::inv_sqrtpi / std::numbers::sqrt2);
  return emit.add(emit.mul(emit.add(erf, 1.0F), 0.5F), emit.mul(emit.mul(x, density), height));
}

// With t = tanh(c (x + a x^3)): (1 + t) / 2 + x / 2 (1 - t^2) c (1 + 3 a x^2)
llmh_tensor gelu_tanh_slope(Emit& emit, llmh_tensor x) {
  constexpr float kCubic = 0.044715F;
  const auto root = static_cast<float>(std::sqrt(2.0 * std::numbers::inv_pi));
  const llmh_tensor square = emit.unary(LLMH_UNARY_SQUARE, x);
  const llmh_tensor inner = emit.add(x, emit.mul(emit.mul(square, x), kCubic));
  const llmh_tensor tanh = emit.unary(LLMH_UNARY_TANH, emit.mul(inner, root));
  const llmh_tensor one = emit.graph().scalar(1.0F);
  const llmh_tensor tanh_slope = emit.sub(one, emit.unary(LLMH_UNARY_SQUARE, tanh));
  const llmh_tensor inner_slope = emit.mul(emit.add(emit.mul(square, 3.0F * kCubic), 1.0F), root);
  const llmh_tensor second = emit.mul(emit.mul(emit.mul(x, 0.5F), tanh_slope), inner_slope);
  return emit.add(emit.mul(emit.add(tanh, 1.0F), 0.5F), second);
}

llmh_tensor slope(Emit& emit, int32_t kind, llmh_tensor x) {
  const auto one_minus = [&](llmh_tensor t) { return emit.sub(emit.graph().scalar(1.0F), t); };
  switch (kind) {
    case LLMH_ACT_SILU:
      return sigmoid_unit_slope(emit, x, 1.0F);
    case LLMH_ACT_GELU:
      return gelu_slope(emit, x);
    case LLMH_ACT_GELU_TANH:
      return gelu_tanh_slope(emit, x);
    case LLMH_ACT_RELU:
      return emit.unary(LLMH_UNARY_STEP, x);
    case LLMH_ACT_RELU_SQUARED:
      return emit.mul(emit.unary(LLMH_UNARY_RELU, x), 2.0F);
    case LLMH_ACT_SIGMOID: {
      const llmh_tensor sigmoid = emit.unary(LLMH_UNARY_SIGMOID, x);
      return emit.mul(sigmoid, one_minus(sigmoid));
    }
    case LLMH_ACT_TANH:
      return one_minus(emit.unary(LLMH_UNARY_SQUARE, emit.unary(LLMH_UNARY_TANH, x)));
    default:
      return sigmoid_unit_slope(emit, x, 1.702F);
  }
}

}  // namespace

Tensors linear_input_grad(const CompositeNode& node) {
  Emit emit(node.graph, node.path);
  const Dims dy_dims = emit.dims(node.in(0));
  llmh_tensor dy = node.in(0);
  if (dy_dims.size() == 1) dy = emit.reshape(dy, {constant_dim(1), dy_dims[0]});
  // Rows stored in blocks are decoded before they are read across.
  const llmh_tensor weight = is_quantised(emit.graph().tensor(node.in(1)).dtype)
                                 ? emit.cast(node.in(1), LLMH_DTYPE_F32)
                                 : node.in(1);
  const llmh_tensor dx = emit.matmul(dy, weight, false);
  return {dy_dims.size() == 1 ? emit.reshape(dx, {emit.dims(dx)[1]}) : dx};
}

Tensors rms_norm_grad(const CompositeNode& node) {
  Emit emit(node.graph, node.path);
  const Normalised n = root_mean_square(emit, node.in(0), node.as<llmh_norm_attrs>().eps);
  return {through_root_mean_square(emit, n, through_weight(emit, node))};
}

Tensors rms_norm_weight_grad(const CompositeNode& node) {
  Emit emit(node.graph, node.path);
  const Normalised n = root_mean_square(emit, node.in(0), node.as<llmh_norm_attrs>().eps);
  return {emit.reduce_to(emit.mul(node.in(1), n.rows), {emit.dims(node.in(0)).back()})};
}

Tensors layer_norm_grad(const CompositeNode& node) {
  Emit emit(node.graph, node.path);
  const llmh_tensor x = centred(emit, node.in(0));
  const Normalised n = root_mean_square(emit, x, node.as<llmh_norm_attrs>().eps);
  return {centred(emit, through_root_mean_square(emit, n, through_weight(emit, node)))};
}

Tensors layer_norm_weight_grad(const CompositeNode& node) {
  Emit emit(node.graph, node.path);
  const llmh_tensor x = centred(emit, node.in(0));
  const Normalised n = root_mean_square(emit, x, node.as<llmh_norm_attrs>().eps);
  return {emit.reduce_to(emit.mul(node.in(1), n.rows), {emit.dims(x).back()})};
}

Tensors activation_grad(const CompositeNode& node) {
  Emit emit(node.graph, node.path);
  return {emit.mul(node.in(1), slope(emit, node.as<llmh_activation_attrs>().kind, node.in(0)))};
}

Tensors gated_activation_grad(const CompositeNode& node) {
  Emit emit(node.graph, node.path);
  const int32_t kind = node.as<llmh_activation_attrs>().kind;
  const llmh_tensor dgate = emit.activation_grad(kind, node.in(0), emit.mul(node.in(2), node.in(1)));
  return {dgate, emit.mul(node.in(2), emit.activation(kind, node.in(0)))};
}

Tensors softmax_grad(const CompositeNode& node) {
  Emit emit(node.graph, node.path);
  const llmh_tensor share = emit.reduce(LLMH_REDUCE_SUM, emit.mul(node.in(0), node.in(1)));
  return {emit.mul(node.in(0), emit.sub(node.in(1), share))};
}

}  // namespace llmhost::graph::parts
