#include <algorithm>
#include <cmath>

#include "graph/shapes.h"

namespace llmhost::graph::shapes {
namespace {

bool is_one(const llmh_dim& dim) {
  return dim.symbol == LLMH_DIM_CONST && dim.size == 1;
}

void want_positive_float(const NodeView& node, std::string_view what, float value) {
  if (!(value > 0) || !std::isfinite(value)) node.fail("{} is {}, it must be positive", what, value);
}

void check_yarn(const NodeView& node, const llmh_rope_angles_attrs& attrs) {
  want_positive_float(node, "beta_fast", attrs.beta_fast);
  want_positive_float(node, "beta_slow", attrs.beta_slow);
  if (!(attrs.theta > 1)) node.fail("theta is {}, this scaling needs more than 1", attrs.theta);
}

void check_scaling(const NodeView& node, const llmh_rope_angles_attrs& attrs) {
  const int32_t scaling = attrs.scaling;
  if (scaling < LLMH_ROPE_SCALING_NONE || scaling > LLMH_ROPE_SCALING_LONGROPE)
    node.fail("scaling {} is unknown: LLMH_ROPE_SCALING_* goes from 0 to 5", scaling);
  if (scaling != LLMH_ROPE_SCALING_NONE && scaling != LLMH_ROPE_SCALING_LONGROPE)
    want_positive_float(node, "factor", attrs.factor);
  if (scaling >= LLMH_ROPE_SCALING_DYNAMIC)
    want_positive_float(node, "original_context", attrs.original_context);
  if (scaling == LLMH_ROPE_SCALING_DYNAMIC && attrs.rotary_dim <= 2)
    node.fail("rotary_dim is {}, this scaling needs more than 2", attrs.rotary_dim);
  if (scaling == LLMH_ROPE_SCALING_BANDS) {
    want_positive_float(node, "low_freq_factor", attrs.low_freq_factor);
    if (!(attrs.high_freq_factor > attrs.low_freq_factor))
      node.fail("high_freq_factor {} is not above low_freq_factor {}", attrs.high_freq_factor,
                attrs.low_freq_factor);
  }
  if (scaling == LLMH_ROPE_SCALING_YARN) check_yarn(node, attrs);
  if (scaling == LLMH_ROPE_SCALING_LONGROPE &&
      (attrs.short_factors == nullptr || attrs.long_factors == nullptr))
    node.fail("short_factors and long_factors are needed");
}

}  // namespace

Dims broadcast_dims(const NodeView& node, std::span<const llmh_dim> a, std::span<const llmh_dim> b) {
  Dims result(std::max(a.size(), b.size()), constant_dim(1));
  for (size_t i = 0; i < result.size(); ++i) {
    const llmh_dim left = i < a.size() ? a[a.size() - 1 - i] : constant_dim(1);
    const llmh_dim right = i < b.size() ? b[b.size() - 1 - i] : constant_dim(1);
    if (!same_dim(left, right) && !is_one(left) && !is_one(right))
      node.fail("{} and {} do not stretch over each other", to_text(a), to_text(b));
    result[result.size() - 1 - i] = is_one(left) ? right : left;
  }
  return result;
}

Types binary(const NodeView& node) {
  want_float(node, 0);
  want_float(node, 1);
  return {{LLMH_DTYPE_F32, broadcast_dims(node, node.in(0).dims, node.in(1).dims)}};
}

Types unary(const NodeView& node) {
  const int32_t kind = node.as<llmh_unary_attrs>().kind;
  if (kind < LLMH_UNARY_NEG || kind > LLMH_UNARY_STEP)
    node.fail("function {} is unknown: LLMH_UNARY_* goes from 1 to 14", kind);
  return like_input(node);
}

Types clamp(const NodeView& node) {
  const auto& attrs = node.as<llmh_clamp_attrs>();
  if (!(attrs.min <= attrs.max)) node.fail("min is {}, max is {}", attrs.min, attrs.max);
  return like_input(node);
}

Types reduce(const NodeView& node) {
  const int32_t kind = node.as<llmh_reduce_attrs>().kind;
  if (kind < LLMH_REDUCE_SUM || kind > LLMH_REDUCE_MAX)
    node.fail("reduction {} is unknown: LLMH_REDUCE_* goes from 1 to 3", kind);
  want_float(node, 0);
  want_rank_from(node, 0, 1);
  Dims dims = node.in(0).dims;
  dims.back() = constant_dim(1);
  return {{LLMH_DTYPE_F32, dims}};
}

Types matmul(const NodeView& node) {
  want_float(node, 0);
  want_rank_from(node, 0, 2);
  want_rank_from(node, 1, 2);
  const bool transposed = node.as<llmh_matmul_attrs>().transpose_b != 0;
  if (is_quantised(node.in(1).dtype) && !transposed)
    node.fail("b is {}: rows stored in blocks need transpose_b", dtype_name(node.in(1).dtype));
  want_decodable(node, 1);
  const std::span<const llmh_dim> a = node.in(0).dims;
  const std::span<const llmh_dim> b = node.in(1).dims;
  const llmh_dim& columns = transposed ? b[b.size() - 2] : b.back();
  const llmh_dim& inner = transposed ? b.back() : b[b.size() - 2];
  if (!same_dim(a.back(), inner))
    node.fail("a is {}, b is {}{}: the inner dimensions differ", to_text(a), to_text(b),
              transposed ? " transposed" : "");
  Dims dims = broadcast_dims(node, a.first(a.size() - 2), b.first(b.size() - 2));
  dims.push_back(a[a.size() - 2]);
  dims.push_back(columns);
  return {{LLMH_DTYPE_F32, dims}};
}

Types rope_angles(const NodeView& node) {
  const auto& attrs = node.as<llmh_rope_angles_attrs>();
  for (size_t i = 0; i < 2; ++i)
    if (node.in(i).dtype != LLMH_DTYPE_I32 || node.in(i).dims.size() != 1)
      node.fail("{} is {}{}, it must be i32[T]", node.input_names[i], dtype_name(node.in(i).dtype),
                to_text(node.in(i).dims));
  if (!same_dims(node.in(0).dims, node.in(1).dims))
    node.fail("positions are {}, rope_lengths {}", to_text(node.in(0).dims), to_text(node.in(1).dims));
  if (attrs.rotary_dim % 2 != 0) node.fail("rotary_dim is {}, it must be even", attrs.rotary_dim);
  want_positive_float(node, "theta", attrs.theta);
  check_scaling(node, attrs);
  const llmh_dim half = constant_dim(attrs.rotary_dim / 2);
  if (node.has(2)) want_vector(node, 2, half);
  const TensorType type{LLMH_DTYPE_F32, {node.in(0).dims[0], half}};
  return {type, type};
}

}  // namespace llmhost::graph::shapes
