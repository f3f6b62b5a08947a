// The block vocabulary of decoder language models: rotary embeddings, self-attention, gated MLPs, output
// heads. Small builders that an architecture composes; each reads its settings from a plain struct.
// Header-only.
//
// In the shapes below T is the tokens of a step, R the rows whose logits are wanted, D the hidden size, V the
// vocabulary. Every builder adds nodes to the graph that its tensors belong to, and throws what the host reports of
// them (a weight that is missing or of another shape, with its name). Readers of configs throw with the key. All of it
// [control]: called while a model is opened or built, never in a step. A layer of a usual decoder:
//
//   llmh::Tensor h = at.rms_norm("input_layernorm", x, eps);
//   x = x + llmh::self_attention(at.scope("self_attn"), h, attention, angles);
//   h = at.rms_norm("post_attention_layernorm", x, eps);
//   x = x + llmh::gated_mlp(at.scope("mlp"), h, intermediate_size, act);
#pragma once

#include <cmath>
#include <string>
#include <vector>

#include "llmhost/arch.hpp"

namespace llmh {

// --- Rotary position embeddings
// ---------------------------------------------------------------------------------

// How angles are made; shared by all layers that use the same base and scaling. A value: copy it as you like.
struct RopeConfig {
  // Base, scaling and its numbers. The two pointers in it stay null: rope_angles() fills them from the lists below.
  llmh_rope_angles_attrs angles = make_attrs<llmh_rope_angles_attrs>();
  std::vector<float> short_factors;  // longrope: [rotary_dim / 2], up to the original context; else empty
  std::vector<float> long_factors;   // longrope: [rotary_dim / 2], beyond it; else empty
};

// What rotate() needs: one set of angles serves every layer that is built from it.
struct RopeAngles {
  Tensor cos;              // f32 [T, rotary_dim / 2]
  Tensor sin;              // f32 [T, rotary_dim / 2]
  int64_t rotary_dim = 0;  // elements of a head that are rotated; even
};

namespace detail {

// A number that the scaling cannot do without.
inline float require_float(const Model& model, const std::string& key) {
  const std::optional<double> value = model.find_float(key);
  if (!value) throw Error(LLMH_INVALID_ARGUMENT, "config: '" + key + "' is missing");
  return static_cast<float>(*value);
}

// In the reference implementation 0 means the default here.
inline float nonzero_or(const Model& model, const std::string& key, float fallback) {
  const float value = model.float_or(key, 0.0);
  return value == 0.0F ? fallback : value;
}

// 0.1 m ln(s) + 1: the attention temperature of YaRN (Peng et al. 2023, eq. 22).
inline float yarn_mscale(float factor, float mscale) {
  return factor <= 1.0F ? 1.0F : 0.1F * mscale * std::log(factor) + 1.0F;
}

// The numbers of YaRN. Without a factor it is the ratio of the two context lengths; attention_factor, when it is not
// given, follows from the factor, or from the two mscale keys when both are there.
inline void read_yarn(const Model& model, const std::string& section, int64_t max_positions, RopeConfig& rope) {
  auto& a = rope.angles;
  a.factor = model.float_or(section + "factor", static_cast<double>(max_positions) / a.original_context);
  a.beta_fast = nonzero_or(model, section + "beta_fast", 32.0F);
  a.beta_slow = nonzero_or(model, section + "beta_slow", 1.0F);
  a.truncate = model.bool_or(section + "truncate", true) ? 1 : 0;
  const float mscale = model.float_or(section + "mscale", 0.0);
  const float mscale_all_dim = model.float_or(section + "mscale_all_dim", 0.0);
  float attention_factor = yarn_mscale(a.factor, 1.0F);
  if (mscale != 0.0F && mscale_all_dim != 0.0F)
    attention_factor = yarn_mscale(a.factor, mscale) / yarn_mscale(a.factor, mscale_all_dim);
  a.attention_factor = model.float_or(section + "attention_factor", attention_factor);
}

// The numbers of LongRoPE: two lists of factors, and an attention factor that grows with the ratio of the contexts.
inline void read_longrope(const Model& model, const std::string& section, int64_t max_positions, RopeConfig& rope) {
  auto& a = rope.angles;
  rope.short_factors = model.find_floats(section + "short_factor").value_or(std::vector<float>{});
  rope.long_factors = model.find_floats(section + "long_factor").value_or(std::vector<float>{});
  const size_t expected = static_cast<size_t>(a.rotary_dim) / 2;
  if (rope.short_factors.size() != expected || rope.long_factors.size() != expected)
    throw Error(LLMH_INVALID_ARGUMENT, "config: '" + section + "short_factor' and 'long_factor' must each have " +
                                           std::to_string(expected) + " numbers");
  const float factor = model.float_or(section + "factor", static_cast<double>(max_positions) / a.original_context);
  const float fallback = factor <= 1.0F ? 1.0F : std::sqrt(1.0F + std::log(factor) / std::log(a.original_context));
  a.factor = factor;
  a.attention_factor = model.float_or(section + "attention_factor", fallback);
}

}  // namespace detail

// Reads rope_theta and rope_scaling, or the rope_parameters of newer configs, with the reference
// implementation's order of precedence. Throws on a scaling it does not know. `rotary_dim` is even: the elements of a
// head that are rotated. `default_theta` is the base of configs that name none.
inline RopeConfig read_rope(const Model& model, int64_t rotary_dim, double default_theta = 10000.0) {
  RopeConfig rope;
  auto& a = rope.angles;
  a.rotary_dim = static_cast<int32_t>(rotary_dim);
  const bool older = model.has("rope_scaling");
  if (older) model.ignore({"rope_parameters"});
  const std::string section = older ? "rope_scaling." : "rope_parameters.";
  a.theta = model.float_or(section + "rope_theta", model.float_or("rope_theta", default_theta));
  if (!older && !model.has("rope_parameters")) return rope;

  // Both spellings occur, often together; the newer one decides.
  const std::string older_type = model.string_or(section + "type", "default");
  const std::string type = model.string_or(section + "rope_type", older_type);
  const int64_t max_positions = model.size_or("max_position_embeddings", 2048);
  const float inner = model.float_or(section + "original_max_position_embeddings", static_cast<double>(max_positions));
  a.original_context = model.float_or("original_max_position_embeddings", inner);
  if (type == "default") return rope;
  if (type == "longrope" || type == "su") {
    a.scaling = LLMH_ROPE_SCALING_LONGROPE;
    detail::read_longrope(model, section, max_positions, rope);
    return rope;
  }
  if (type == "yarn") {
    a.scaling = LLMH_ROPE_SCALING_YARN;
    detail::read_yarn(model, section, max_positions, rope);
    return rope;
  }
  a.factor = detail::require_float(model, section + "factor");
  if (type == "linear") {
    a.scaling = LLMH_ROPE_SCALING_LINEAR;
  } else if (type == "dynamic") {
    a.scaling = LLMH_ROPE_SCALING_DYNAMIC;
    // The length beyond which the base grows is the config's maximum, whatever else is written beside it.
    a.original_context = static_cast<float>(max_positions);
  } else if (type == "llama3") {
    a.scaling = LLMH_ROPE_SCALING_BANDS;
    a.low_freq_factor = detail::require_float(model, section + "low_freq_factor");
    a.high_freq_factor = detail::require_float(model, section + "high_freq_factor");
  } else {
    throw Error(LLMH_UNIMPLEMENTED, "config: '" + section + "rope_type' is '" + type +
                                        "'; known are default, linear, dynamic, llama3, yarn, longrope");
  }
  return rope;
}

// Angles of the step's tokens: cos and sin, f32 [T, rotary_dim / 2] each. `freq_factors` f32 [rotary_dim / 2] divides the
// frequencies when present. Build them once and share them: each call adds a node.
inline RopeAngles rope_angles(Graph& graph, const RopeConfig& rope, Tensor freq_factors = {}) {
  llmh_rope_angles_attrs attrs = rope.angles;
  attrs.short_factors = rope.short_factors.empty() ? nullptr : rope.short_factors.data();
  attrs.long_factors = rope.long_factors.empty() ? nullptr : rope.long_factors.data();
  const auto made = graph.add_node(
      LLMH_OP_ROPE_ANGLES, {}, {graph.input(LLMH_INPUT_POSITIONS), graph.input(LLMH_INPUT_ROPE_LENGTHS), freq_factors},
      &attrs, sizeof attrs, 2);
  return {made[0], made[1], attrs.rotary_dim};
}

// Rotates the first angles.rotary_dim elements of each head: x [T, n_heads * head_dim] -> the same shape. `style` says
// which two elements are a pair, LLMH_ROPE_*.
inline Tensor rotate(Tensor x, const RopeAngles& angles, int64_t n_heads, int64_t head_dim,
                     int32_t style = LLMH_ROPE_HALVES) {
  auto attrs = make_attrs<llmh_rope_attrs>();
  attrs.n_heads = static_cast<int32_t>(n_heads);
  attrs.head_dim = static_cast<int32_t>(head_dim);
  attrs.rotary_dim = static_cast<int32_t>(angles.rotary_dim);
  attrs.style = style;
  return x.graph().root().op(LLMH_OP_ROPE, {x, angles.cos, angles.sin}, attrs);
}

// --- Attention
// ----------------------------------------------------------------------------------------------------

// One layer's attention. The state that it names is declared by describe() (States::paged_kv) with the same numbers.
struct AttentionConfig {
  int64_t layer = 0;            // from 0; also the state slot
  int64_t n_heads = 0;          // of queries
  int64_t n_kv_heads = 0;       // of keys and values; divides n_heads
  int64_t head_dim = 0;         // elements of a head of q, k and v alike
  Bias qkv_bias = Bias::kNone;  // of q_proj, k_proj and v_proj
  Bias out_bias = Bias::kNone;  // of o_proj
  float scale = 0.0F;           // multiplies q k^T; 0: 1 / sqrt(head_dim)
  float softcap = 0.0F;         // cap * tanh(score / cap) of the scores; 0: none
  int64_t window = 0;           // positions that a query sees, its own included; 0: all
};

// Causal attention of already projected and rotated q [T, n_heads * head_dim] and k, v [T, n_kv_heads * head_dim] ->
// [T, n_heads * head_dim]. Appends k and v to the layer's state. `at` gives the node its path.
inline Tensor attend(const Scope& at, Tensor q, Tensor k, Tensor v, const AttentionConfig& c) {
  auto attrs = make_attrs<llmh_attention_attrs>();
  attrs.slot = static_cast<int32_t>(c.layer);
  attrs.n_heads = static_cast<int32_t>(c.n_heads);
  attrs.n_kv_heads = static_cast<int32_t>(c.n_kv_heads);
  attrs.k_head_dim = static_cast<int32_t>(c.head_dim);
  attrs.v_head_dim = static_cast<int32_t>(c.head_dim);
  attrs.scale = c.scale != 0.0F ? c.scale : 1.0F / std::sqrt(static_cast<float>(c.head_dim));
  attrs.softcap = c.softcap;
  attrs.causal = 1;
  attrs.window = static_cast<int32_t>(c.window);
  return at.op(LLMH_OP_ATTENTION, {q, k, v, Tensor{}, Tensor{}}, attrs);
}

// q_proj, k_proj, v_proj, rotation, attention, o_proj, under those names below `at`. x [T, D] -> [T, D]. Models that put
// something between (norms of q and k, scales) write these lines themselves, around attend().
inline Tensor self_attention(const Scope& at, Tensor x, const AttentionConfig& c, const RopeAngles& angles) {
  Tensor q = at.linear("q_proj", x, c.n_heads * c.head_dim, c.qkv_bias);
  Tensor k = at.linear("k_proj", x, c.n_kv_heads * c.head_dim, c.qkv_bias);
  const Tensor v = at.linear("v_proj", x, c.n_kv_heads * c.head_dim, c.qkv_bias);
  q = rotate(q, angles, c.n_heads, c.head_dim);
  k = rotate(k, angles, c.n_kv_heads, c.head_dim);
  return at.linear("o_proj", attend(at, q, k, v, c), x.width(), c.out_bias);
}

// --- Feed-forward
// -------------------------------------------------------------------------------------------------

// LLMH_ACT_* of a config's activation name. Throws on an unknown one.
inline int32_t activation_kind(const std::string& name) {
  if (name == "silu" || name == "swish") return LLMH_ACT_SILU;
  if (name == "gelu" || name == "gelu_python") return LLMH_ACT_GELU;
  for (const char* tanh_form : {"gelu_new", "gelu_pytorch_tanh", "gelu_python_tanh", "gelu_fast", "gelu_accurate"})
    if (name == tanh_form) return LLMH_ACT_GELU_TANH;
  if (name == "quick_gelu") return LLMH_ACT_GELU_QUICK;
  if (name == "relu") return LLMH_ACT_RELU;
  if (name == "relu2") return LLMH_ACT_RELU_SQUARED;
  throw Error(LLMH_UNIMPLEMENTED,
              "config: activation '" + name +
                  "' is not known; known are silu, gelu, gelu_new, gelu_pytorch_tanh, quick_gelu, relu, relu2");
}

// down_proj(act(gate_proj(x)) * up_proj(x)), under those names below `at`. x [T, D] -> [T, D], through two of
// [T, intermediate_size]. `act` is LLMH_ACT_*; `bias` is that of all three.
inline Tensor gated_mlp(const Scope& at, Tensor x, int64_t intermediate_size, int32_t act, Bias bias = Bias::kNone) {
  const Tensor gate = at.linear("gate_proj", x, intermediate_size, bias);
  const Tensor up = at.linear("up_proj", x, intermediate_size, bias);
  return at.linear("down_proj", gated_activation(gate, up, act), x.width(), bias);
}

// --- Ends
// ---------------------------------------------------------------------------------------------------------

// Picks the rows whose logits are wanted: x [T, D] -> [R, D]. Everything after it costs R rows rather than T, so it comes
// before the final norm.
inline Tensor output_rows(Tensor x) {
  return gather_rows(x, x.graph().input(LLMH_INPUT_OUTPUT_ROWS));
}

// The logits of the wanted rows, x [R, D] -> [R, V]: `lm_head`, or, when the two are tied, the embedding table, whose
// weight has the name `embedding_weight` and the shape [V, D].
inline Tensor lm_head(Graph& graph, Tensor x, int64_t vocab_size, bool tied, std::string_view embedding_weight) {
  if (!tied) return graph.root().linear("lm_head", x, vocab_size);
  return graph.root().linear_with("lm_head", x, graph.weight(embedding_weight, {vocab_size, x.width()}));
}

}  // namespace llmh
