// Feed-forward blocks. Header-only. [control]
#pragma once

#include <string>
#include <string_view>

#include "llmhost/tensor_ops.hpp"

namespace llmh {

// LLMH_ACT_* of a config's activation name. Throws on an unknown one.
inline int32_t activation_kind(const std::string& name) {
  if (name == "silu" || name == "swish") return LLMH_ACT_SILU;
  if (name == "gelu" || name == "gelu_python") return LLMH_ACT_GELU;
  for (const char* tanh_form : {"gelu_new", "gelu_pytorch_tanh", "gelu_python_tanh", "gelu_fast", "gelu_accurate"})
    if (name == tanh_form) return LLMH_ACT_GELU_TANH;
  if (name == "quick_gelu") return LLMH_ACT_GELU_QUICK;
  if (name == "relu") return LLMH_ACT_RELU;
  if (name == "relu2") return LLMH_ACT_RELU_SQUARED;
  if (name == "sigmoid") return LLMH_ACT_SIGMOID;
  if (name == "tanh") return LLMH_ACT_TANH;
  throw Error(LLMH_UNIMPLEMENTED, "config: activation '" + name +
                                      "' is not known; known are silu, gelu, gelu_new, gelu_pytorch_tanh, quick_gelu, "
                                      "relu, relu2, sigmoid, tanh");
}

// down_proj(act(gate_proj(x)) * up_proj(x)), under those names below `at`. x [T, D] -> [T, D], through two of
// [T, intermediate_size]. `act` is LLMH_ACT_*; `bias` is that of all three. (Shazeer 2020)
inline Tensor gated_mlp(const Scope& at, Tensor x, int64_t intermediate_size, int32_t act, Bias bias = Bias::kNone) {
  const Tensor gate = at.linear("gate_proj", x, intermediate_size, bias);
  const Tensor up = at.linear("up_proj", x, intermediate_size, bias);
  return at.linear("down_proj", gated_activation(gate, up, act), x.width(), bias);
}

// The two halves of a fused gate and up, [..., 2 F] -> [..., F]: act(first half) * second half.
inline Tensor gated_halves(Tensor gate_up, int32_t act) {
  const int64_t half = gate_up.width() / 2;
  return gated_activation(slice(gate_up, 0, half), slice(gate_up, half, 2 * half), act);
}

// down_proj(act(first half) * second half) of gate_up_proj(x), under those names below `at`.
inline Tensor fused_gated_mlp(const Scope& at, Tensor x, int64_t intermediate_size, int32_t act,
                              Bias bias = Bias::kNone) {
  const Tensor gate_up = at.linear("gate_up_proj", x, 2 * intermediate_size, bias);
  return at.linear("down_proj", gated_halves(gate_up, act), x.width(), bias);
}

// The names of a plain feed-forward block's two linears.
struct PlainMlpNames {
  std::string_view up = "up_proj";
  std::string_view down = "down_proj";
};

// down(act(up(x))): x [T, D] -> [T, D].
inline Tensor plain_mlp(const Scope& at, Tensor x, int64_t intermediate_size, int32_t act, Bias bias,
                        const PlainMlpNames& names = {}) {
  const Tensor up = at.linear(names.up, x, intermediate_size, bias);
  return at.linear(names.down, activation(up, act), x.width(), bias);
}

}  // namespace llmh
