// Normalisations as decoder models place them. Header-only. [control]
#pragma once

#include <string_view>
#include <vector>

#include "llmhost/tensor_ops.hpp"

namespace llmh {

// One kind of norm; a model usually has one for all its places.
struct NormConfig {
  bool centred = false;        // LAYER_NORM, which subtracts the mean; else RMS_NORM
  float eps = 0.0F;            // added to the mean square or the variance
  float weight_offset = 0.0F;  // added to the stored weight; 1 where checkpoints store weight - 1
  bool has_weight = true;      // false: x is only normalised
  Bias bias = Bias::kNone;     // of a centred norm
};

// The op itself over the last dimension, with weights already at hand (absent ones are left out).
inline Tensor normalised(const Scope& at, Tensor x, const NormConfig& c, Tensor weight = {}, Tensor bias = {}) {
  auto attrs = make_attrs<llmh_norm_attrs>();
  attrs.eps = c.eps;
  attrs.weight_offset = weight.present() ? c.weight_offset : 0.0F;
  return c.centred ? at.op(LLMH_OP_LAYER_NORM, {x, weight, bias}, attrs) : at.op(LLMH_OP_RMS_NORM, {x, weight}, attrs);
}

// `<at>.<name>.weight` and `.bias`, x [..., D] -> the same shape.
inline Tensor norm(const Scope& at, std::string_view name, Tensor x, const NormConfig& c) {
  const Scope module = at.scope(name);
  Tensor weight;
  Tensor bias;
  if (c.has_weight) weight = module.weight("weight", {x.width()});
  if (c.centred && c.bias != Bias::kNone)
    bias = module.weight("bias", {x.width()}, c.bias == Bias::kIfStored ? LLMH_WEIGHT_OPTIONAL : LLMH_WEIGHT_REQUIRED);
  return normalised(module, x, c, weight, bias);
}

// Each head on its own, one weight [head_dim] for all of them. x [T, n_heads * head_dim] -> the same shape.
inline Tensor head_norm(const Scope& at, std::string_view name, Tensor x, int64_t n_heads, const NormConfig& c) {
  return merge_last(norm(at, name, split_last(x, {n_heads, x.width() / n_heads}), c));
}

// Each head on its own, with a weight of its own: `<at>.<name>.weight` [n_heads, head_dim].
inline Tensor each_head_norm(const Scope& at, std::string_view name, Tensor x, int64_t n_heads, const NormConfig& c) {
  const Scope module = at.scope(name);
  const int64_t head_dim = x.width() / n_heads;
  const Tensor plain = normalised(module, split_last(x, {n_heads, head_dim}), c);
  return merge_last(plain * module.weight("weight", {n_heads, head_dim}));
}

}  // namespace llmh
