#include <cmath>

#include "graph/shapes.h"

namespace llmhost::graph::shapes {
namespace {

TensorType f32_like(const TensorType& type) {
  return {LLMH_DTYPE_F32, type.dims};
}

void want_positive(const NodeView& node, std::string_view what, int32_t value) {
  if (value <= 0) node.fail("{} is {}, it must be positive", what, value);
}

// x [T, heads * dim] for the heads of the attributes.
void want_heads(const NodeView& node, size_t index, int64_t heads, int64_t dim) {
  want_float(node, index);
  const Dims& dims = node.in(index).dims;
  if (dims.size() != 2 || !same_dim(dims[1], constant_dim(heads * dim)))
    node.fail("{} is {}, {} heads of {} want [T,{}]", node.input_names[index], to_text(dims), heads, dim,
              heads * dim);
}

// An adapter is chosen by the row's token or output: x is [T,K] or [R,K], of a norm also [T,H,K].
void want_site_rows(const NodeView& node, int32_t site, size_t max_rank) {
  if (site < 1) node.fail("adapter_site is {}, sites are numbered from 1", site);
  const Dims& x = node.in(0).dims;
  if (x.size() < 2 || x.size() > max_rank ||
      !(same_dim(x[0], symbol_dim(LLMH_DIM_TOKENS)) || same_dim(x[0], symbol_dim(LLMH_DIM_OUTPUTS))))
    node.fail("{} is {}, an adapter's site wants a row for each token or output", node.input_names[0],
              to_text(x));
}

// A norm that has a site has a weight that is replaced there.
void check_norm_site(const NodeView& node, size_t weight) {
  const int32_t site = node.as<llmh_norm_attrs>().adapter_site;
  if (site == 0) return;
  want_site_rows(node, site, LLMH_MAX_RANK);
  if (!node.has(weight)) node.fail("adapter_site is {} and there is no weight", site);
}

void check_attention_attrs(const NodeView& node, const llmh_attention_attrs& attrs) {
  want_positive(node, "n_heads", attrs.n_heads);
  want_positive(node, "n_kv_heads", attrs.n_kv_heads);
  want_positive(node, "k_head_dim", attrs.k_head_dim);
  want_positive(node, "v_head_dim", attrs.v_head_dim);
  if (attrs.n_heads % attrs.n_kv_heads != 0)
    node.fail("{} heads cannot share {} key/value heads evenly", attrs.n_heads, attrs.n_kv_heads);
  if (attrs.slot < 0) node.fail("slot is {}", attrs.slot);
  check_visibility(node, attrs);
  if (!std::isfinite(attrs.scale)) node.fail("scale is not finite");
  if (!(attrs.softcap >= 0) || !std::isfinite(attrs.softcap)) node.fail("softcap is {}", attrs.softcap);
  if (!(attrs.top_k_ratio >= 0 && attrs.top_k_ratio <= 1))
    node.fail("top_k_ratio is {}, it must be from 0 to 1", attrs.top_k_ratio);
}

}  // namespace

Types embedding(const NodeView& node) {
  want_decodable(node, 0);
  const Dims& table = node.in(0).dims;
  if (table.size() != 2) node.fail("the table is {}, it must be [N,D]", to_text(table));
  if (node.in(1).dtype != LLMH_DTYPE_I32)
    node.fail("ids are {}, they must be i32", dtype_name(node.in(1).dtype));
  Dims dims = node.in(1).dims;
  flattened(dims);
  dims.push_back(table[1]);
  return {{LLMH_DTYPE_F32, dims}};
}

Types linear(const NodeView& node) {
  want_float(node, 0);
  want_rank_from(node, 0, 1);
  want_decodable(node, 1);
  const Dims& x = node.in(0).dims;
  const Dims& weight = node.in(1).dims;
  if (weight.size() != 2) node.fail("the weight is {}, it must be [N,K]", to_text(weight));
  if (!same_dim(x.back(), weight[1]))
    node.fail("x is {}, the weight {} wants {} columns", to_text(x), to_text(weight), weight[1].size);
  if (node.has(2)) want_vector(node, 2, weight[0]);
  Dims dims = x;
  dims.back() = weight[0];
  return {{LLMH_DTYPE_F32, dims}};
}

Types lora_linear(const NodeView& node) {
  want_site_rows(node, node.as<llmh_site_attrs>().adapter_site, 2);
  return linear(node);
}

Types lora_embedding(const NodeView& node) {
  const int32_t site = node.as<llmh_site_attrs>().adapter_site;
  if (site < 1) node.fail("adapter_site is {}, sites are numbered from 1", site);
  if (!same_dims(node.in(1).dims, Dims{symbol_dim(LLMH_DIM_TOKENS)}))
    node.fail("ids are {}, they must be [T]", to_text(node.in(1).dims));
  return embedding(node);
}

Types expert_linear(const NodeView& node) {
  want_float(node, 0);
  want_decodable(node, 1);
  const Dims& x = node.in(0).dims;
  const Dims& weight = node.in(1).dims;
  const Dims& ids = node.in(2).dims;
  if (weight.size() != 3) node.fail("the weight is {}, it must be [E,N,K]", to_text(weight));
  if (node.in(2).dtype != LLMH_DTYPE_I32 || ids.size() != 2 || ids[1].symbol != LLMH_DIM_CONST)
    node.fail("ids are {}{}, they must be i32[T,S]", dtype_name(node.in(2).dtype), to_text(ids));
  if (!same_dims(x, Dims{ids[0], weight[2]}) && !same_dims(x, Dims{ids[0], ids[1], weight[2]}))
    node.fail("x is {}, ids {} and the weight {} want {} or {}", to_text(x), to_text(ids), to_text(weight),
              to_text(Dims{ids[0], weight[2]}), to_text(Dims{ids[0], ids[1], weight[2]}));
  if (node.has(3)) {
    want_float(node, 3);
    const Dims wanted = {weight[0], weight[1]};
    if (!same_dims(node.in(3).dims, wanted))
      node.fail("bias is {}, it must be {}", to_text(node.in(3).dims), to_text(wanted));
  }
  return {{LLMH_DTYPE_F32, {ids[0], ids[1], weight[1]}}};
}

Types norm(const NodeView& node) {
  want_float(node, 0);
  want_rank_from(node, 0, 1);
  const auto& attrs = node.as<llmh_norm_attrs>();
  if (!(attrs.eps >= 0) || !std::isfinite(attrs.eps)) node.fail("eps is {}", attrs.eps);
  for (size_t i = 1; i < node.inputs.size(); ++i)
    if (node.has(i)) want_vector(node, i, node.in(0).dims.back());
  check_norm_site(node, 1);
  return {f32_like(node.in(0))};
}

Types add_norm(const NodeView& node) {
  want_float(node, 0);
  want_float(node, 1);
  want_rank_from(node, 0, 1);
  const auto& attrs = node.as<llmh_norm_attrs>();
  if (!(attrs.eps >= 0) || !std::isfinite(attrs.eps)) node.fail("eps is {}", attrs.eps);
  if (!same_dims(node.in(0).dims, node.in(1).dims))
    node.fail("a is {}, b is {}: they must be alike", to_text(node.in(0).dims), to_text(node.in(1).dims));
  if (node.has(2)) want_vector(node, 2, node.in(0).dims.back());
  check_norm_site(node, 2);
  return {f32_like(node.in(0)), f32_like(node.in(0))};
}

Types rope(const NodeView& node) {
  const auto& attrs = node.as<llmh_rope_attrs>();
  want_positive(node, "n_heads", attrs.n_heads);
  want_positive(node, "head_dim", attrs.head_dim);
  if (attrs.rotary_dim <= 0 || attrs.rotary_dim % 2 != 0 || attrs.rotary_dim > attrs.head_dim)
    node.fail("rotary_dim is {}, it must be even and at most head_dim {}", attrs.rotary_dim, attrs.head_dim);
  if (attrs.style != LLMH_ROPE_HALVES && attrs.style != LLMH_ROPE_INTERLEAVED)
    node.fail("style {} is unknown", attrs.style);
  want_heads(node, 0, attrs.n_heads, attrs.head_dim);
  const Dims angles = {node.in(0).dims[0], constant_dim(attrs.rotary_dim / 2)};
  for (size_t i = 1; i <= 2; ++i) {
    want_float(node, i);
    if (!same_dims(node.in(i).dims, angles))
      node.fail("{} is {}, it must be {}", node.input_names[i], to_text(node.in(i).dims), to_text(angles));
  }
  return {f32_like(node.in(0))};
}

Types attention(const NodeView& node) {
  const auto& attrs = node.as<llmh_attention_attrs>();
  check_attention_attrs(node, attrs);
  want_heads(node, 0, attrs.n_heads, attrs.k_head_dim);
  want_heads(node, 1, attrs.n_kv_heads, attrs.k_head_dim);
  want_heads(node, 2, attrs.n_kv_heads, attrs.v_head_dim);
  for (size_t i = 0; i < 3; ++i)
    if (!same_dim(node.in(i).dims[0], symbol_dim(LLMH_DIM_TOKENS)))
      node.fail("{} is {}, it must have a row for each token", node.input_names[i], to_text(node.in(i).dims));
  for (size_t i = 3; i <= 4; ++i)
    if (node.has(i)) want_vector(node, i, constant_dim(attrs.n_heads));
  const int64_t width = int64_t{attrs.n_heads} * attrs.v_head_dim;
  return {{LLMH_DTYPE_F32, {symbol_dim(LLMH_DIM_TOKENS), constant_dim(width)}}};
}

Types attention_train(const NodeView& node) {
  Types types = attention(node);
  types.push_back(
      {LLMH_DTYPE_F32, {symbol_dim(LLMH_DIM_TOKENS), constant_dim(node.as<llmh_attention_attrs>().n_heads)}});
  return types;
}

Types attention_grad(const NodeView& node) {
  const Types forward = attention_train(node);
  want_like(node, 5, forward[0].dims);
  want_like(node, 6, forward[1].dims);
  want_like(node, 7, forward[0].dims);
  const Dims heads = {constant_dim(node.as<llmh_attention_attrs>().n_heads)};
  return {f32_like(node.in(0)), f32_like(node.in(1)), f32_like(node.in(2)), {LLMH_DTYPE_F32, heads}};
}

Types activation(const NodeView& node) {
  check_activation_kind(node);
  return like_input(node);
}

Types gated_activation(const NodeView& node) {
  check_activation_kind(node);
  want_float(node, 1);
  if (!same_dims(node.in(0).dims, node.in(1).dims))
    node.fail("gate is {}, up is {}: they must be alike", to_text(node.in(0).dims), to_text(node.in(1).dims));
  return like_input(node);
}

Types softcap(const NodeView& node) {
  const float cap = node.as<llmh_scalar_attrs>().value;
  if (!(cap > 0) || !std::isfinite(cap)) node.fail("the cap is {}, it must be positive", cap);
  return like_input(node);
}

Types like_input(const NodeView& node) {
  want_float(node, 0);
  if (node.op == LLMH_OP_SOFTMAX) want_rank_from(node, 0, 1);
  return {f32_like(node.in(0))};
}

void check_activation_kind(const NodeView& node) {
  const int32_t kind = node.as<llmh_activation_attrs>().kind;
  if (kind < LLMH_ACT_SILU || kind > LLMH_ACT_GELU_QUICK)
    node.fail("activation {} is unknown: LLMH_ACT_* goes from 1 to 8", kind);
}

void want_like(const NodeView& node, size_t index, std::span<const llmh_dim> dims) {
  want_float(node, index);
  if (!same_dims(node.in(index).dims, dims))
    node.fail("{} is {}, it must be {}", node.input_names[index], to_text(node.in(index).dims),
              to_text(dims));
}

void want_ids(const NodeView& node, size_t index, std::span<const llmh_dim> dims) {
  const TensorType& ids = node.in(index);
  if (ids.dtype != LLMH_DTYPE_I32 || !same_dims(ids.dims, dims))
    node.fail("{} are {}{}, they must be i32{}", node.input_names[index], dtype_name(ids.dtype),
              to_text(ids.dims), to_text(dims));
}

void want_float(const NodeView& node, size_t index) {
  if (!is_float(node.in(index).dtype))
    node.fail("{} is {}, it must be a floating type", node.input_names[index],
              dtype_name(node.in(index).dtype));
}

void want_decodable(const NodeView& node, size_t index) {
  if (!is_quantised(node.in(index).dtype)) want_float(node, index);
}

void want_plain(const NodeView& node, size_t index) {
  if (is_quantised(node.in(index).dtype))
    node.fail("{} is {}, which is stored in blocks: cast it to f32 first", node.input_names[index],
              dtype_name(node.in(index).dtype));
}

void want_rank_from(const NodeView& node, size_t index, size_t least) {
  if (node.in(index).dims.size() < least)
    node.fail("{} is {}, it needs {} dimensions or more", node.input_names[index],
              to_text(node.in(index).dims), least);
}

void want_vector(const NodeView& node, size_t index, const llmh_dim& size) {
  want_float(node, index);
  const Dims& dims = node.in(index).dims;
  if (dims.size() != 1 || !same_dim(dims[0], size))
    node.fail("{} is {}, it must be {}", node.input_names[index], to_text(dims), to_text({&size, 1}));
}

}  // namespace llmhost::graph::shapes
