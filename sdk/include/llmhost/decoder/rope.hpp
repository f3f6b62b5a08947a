// Rotary position embeddings: reading a config's settings, making the angles, rotating heads. Header-only. [control]
#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "llmhost/arch.hpp"
#include "llmhost/tensor_ops.hpp"

namespace llmh {

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
  model.ignore({section + "yarn_log_multiplier"});  // of GGUF files; attention_factor has it
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

// Elements of a head that are rotated: partial_rotary_factor, rotary_pct or rotary_dim, in the config or beside its rope
// settings; `fallback_factor` of the head where none is given. Even.
inline int64_t read_rotary_dim(const Model& model, int64_t head_dim, double fallback_factor = 1.0) {
  double factor = fallback_factor;
  for (const char* key : {"rotary_pct", "rope_pct", "partial_rotary_factor", "rope_scaling.partial_rotary_factor",
                          "rope_parameters.partial_rotary_factor"})
    factor = model.find_float(key).value_or(factor);
  const auto computed = static_cast<int64_t>(static_cast<double>(head_dim) * factor);
  const int64_t rotary_dim = model.is_gguf() ? model.int_or("rotary_dim", computed) : computed;
  if (rotary_dim < 2 || rotary_dim > head_dim || rotary_dim % 2 != 0)
    throw Error(LLMH_UNIMPLEMENTED, "config: " + std::to_string(rotary_dim) + " rotated elements in heads of " +
                                        std::to_string(head_dim) + "; the number must be even and fit");
  return rotary_dim;
}

// The settings in the object at `section` ("rope_scaling", or one kind of layer's "rope_parameters.full_attention"), for
// the base `theta`. Throws on a scaling it does not know. `rotary_dim` is even: the elements of a head that are rotated.
inline RopeConfig read_rope_section(const Model& model, const std::string& section, int64_t rotary_dim, double theta) {
  RopeConfig rope;
  auto& a = rope.angles;
  const std::string in = section + ".";
  a.rotary_dim = static_cast<int32_t>(rotary_dim);
  a.theta = model.float_or(in + "rope_theta", theta);
  // Both spellings occur, often together; the newer one decides.
  const std::string older_type = model.string_or(in + "type", "default");
  const std::string type = model.string_or(in + "rope_type", older_type);
  const int64_t max_positions = model.size_or("max_position_embeddings", 2048);
  const float inner = model.float_or(in + "original_max_position_embeddings", static_cast<double>(max_positions));
  a.original_context = model.float_or("original_max_position_embeddings", inner);
  if (type == "default") return rope;
  if (type == "longrope" || type == "su") {
    a.scaling = LLMH_ROPE_SCALING_LONGROPE;
    detail::read_longrope(model, in, max_positions, rope);
    return rope;
  }
  if (type == "yarn") {
    a.scaling = LLMH_ROPE_SCALING_YARN;
    detail::read_yarn(model, in, max_positions, rope);
    return rope;
  }
  a.factor = detail::require_float(model, in + "factor");
  if (type == "linear") {
    a.scaling = LLMH_ROPE_SCALING_LINEAR;
  } else if (type == "dynamic") {
    a.scaling = LLMH_ROPE_SCALING_DYNAMIC;
    // The length beyond which the base grows is the config's maximum, whatever else is written beside it.
    a.original_context = static_cast<float>(max_positions);
  } else if (type == "llama3") {
    a.scaling = LLMH_ROPE_SCALING_BANDS;
    a.low_freq_factor = detail::require_float(model, in + "low_freq_factor");
    a.high_freq_factor = detail::require_float(model, in + "high_freq_factor");
  } else {
    throw Error(LLMH_UNIMPLEMENTED, "config: '" + in + "rope_type' is '" + type +
                                        "'; known are default, linear, dynamic, llama3, yarn, longrope");
  }
  return rope;
}

// Reads rope_theta and rope_scaling, or the rope_parameters of newer configs, with the reference implementation's order of
// precedence. `default_theta` is the base of configs that name none; `theta_key` what an older config calls it.
inline RopeConfig read_rope(const Model& model, int64_t rotary_dim, double default_theta = 10000.0,
                            const char* theta_key = "rope_theta") {
  const bool older = model.has("rope_scaling");
  if (older) model.ignore({"rope_parameters"});
  return read_rope_section(model, older ? "rope_scaling" : "rope_parameters", rotary_dim,
                           model.find_float(theta_key).value_or(default_theta));
}

// Tokens that a model attends to when its config names `configured`: for yarn and longrope usually the stretched length,
// sometimes the original one; for linear and dynamic scaling on the Hub the original one.
inline int64_t stretched_context(const Model& model, int64_t configured, const RopeConfig& rope) {
  const auto& a = rope.angles;
  if (a.scaling == LLMH_ROPE_SCALING_YARN)
    return std::max(configured, static_cast<int64_t>(a.original_context * a.factor));
  const bool by_factor = a.scaling == LLMH_ROPE_SCALING_LINEAR || a.scaling == LLMH_ROPE_SCALING_DYNAMIC;
  if (!by_factor || model.is_gguf()) return configured;
  return static_cast<int64_t>(static_cast<float>(configured) * a.factor);
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

// 1 for each token whose rope length is beyond the original context, else 0: f32 [T, 1].
inline Tensor beyond_original(Graph& graph, const RopeConfig& rope) {
  auto attrs = make_attrs<llmh_cast_attrs>();
  attrs.dtype = LLMH_DTYPE_F32;
  const Tensor lengths = graph.root().op(LLMH_OP_CAST, {graph.input(LLMH_INPUT_ROPE_LENGTHS)}, attrs);
  std::vector<llmh_dim> dims = dims_of(lengths);
  dims.push_back(fixed_dim(1));
  return clamp(shift(reshape(lengths, dims), -rope.angles.original_context), 0.0F, 1.0F);
}

// LongRoPE's attention factor up to the original context and beyond it.
struct LengthScales {
  float within = 1.0F;
  float beyond = 1.0F;
};

// short_mscale and long_mscale beside the scaling's other numbers; without them it is one factor for both.
inline LengthScales read_length_scales(const Model& model, const RopeConfig& rope) {
  const std::string section = model.has("rope_scaling") ? "rope_scaling." : "rope_parameters.";
  const float one = rope.angles.attention_factor == 0.0F ? 1.0F : rope.angles.attention_factor;
  if (rope.angles.scaling != LLMH_ROPE_SCALING_LONGROPE) return {one, one};
  return {model.float_or(section + "short_mscale", one), model.float_or(section + "long_mscale", one)};
}

// rope_angles() with these attention factors in place of the scaling's own.
inline RopeAngles rope_angles_by_length(Graph& graph, RopeConfig rope, const LengthScales& scales,
                                        Tensor freq_factors = {}) {
  rope.angles.attention_factor = scales.within;
  RopeAngles angles = rope_angles(graph, rope, freq_factors);
  if (scales.within == scales.beyond) return angles;
  const float growth = scales.beyond / scales.within - 1.0F;
  const Tensor factor = shift(scale(beyond_original(graph, rope), growth), 1.0F);
  angles.cos = angles.cos * factor;
  angles.sin = angles.sin * factor;
  return angles;
}

// Whether a GGUF file has LongRoPE's factors, which it stores as two tensors.
inline bool has_stored_factors(const Model& model) {
  return model.is_gguf() && model.has_tensor("rope_factors_long.weight");
}

// The other numbers of such a file.
inline RopeConfig read_stored_longrope(const Model& model, int64_t rotary_dim) {
  RopeConfig rope;
  rope.angles.rotary_dim = static_cast<int32_t>(rotary_dim);
  rope.angles.theta = model.float_or("rope_theta", 10000.0);
  const double context = static_cast<double>(model.size_or("max_position_embeddings", 2048));
  const float original = model.float_or("rope_scaling.original_max_position_embeddings", context);
  rope.angles.original_context = original;
  const float factor = model.float_or("rope_scaling.factor", context / original);
  const float fallback = factor <= 1.0F ? 1.0F : std::sqrt(1.0F + std::log(factor) / std::log(original));
  rope.angles.attention_factor = model.float_or("rope_scaling.attention_factor", fallback);
  model.ignore({"rope_scaling.rope_type"});  // the tensors say it
  return rope;
}

// Angles by the stored factors: the short ones up to the original context, the long ones beyond it.
inline RopeAngles stored_longrope_angles(Graph& graph, const RopeConfig& rope) {
  const std::vector<int64_t> shape{rope.angles.rotary_dim / 2};
  const RopeAngles near = rope_angles(graph, rope, graph.weight("rope_factors_short.weight", shape));
  const RopeAngles far = rope_angles(graph, rope, graph.weight("rope_factors_long.weight", shape));
  const Tensor is_far = beyond_original(graph, rope);
  const Tensor is_near = shift(scale(is_far, -1.0F), 1.0F);
  return {near.cos * is_near + far.cos * is_far, near.sin * is_near + far.sin * is_far, near.rotary_dim};
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

}  // namespace llmh
