// Gemma 2 (Gemma Team 2024): each block is normalised before and after, attention scores and logits are
// capped with tanh, and every other layer looks back over a window only.
#include <cmath>
#include <string>

#include "llmhost/decoder.hpp"

namespace {

class Gemma2 {
 public:
  static int match(const llmh::Model& model) {
    return model.string_or("model_type", "") == "gemma2" ? LLMH_MATCH_EXACT : LLMH_MATCH_NONE;
  }

  explicit Gemma2(const llmh::Model& model) : sizes_(llmh::read_sizes(model, {}, 8192)) {
    sizes_.intermediate_size = model.require_size("intermediate_size");
    sizes_.head_dim = model.size_or("head_dim", 256);
    norm_ = {.eps = model.float_or("rms_norm_eps", 1e-6), .weight_offset = model.is_gguf() ? 0.0F : 1.0F};
    activation_ = llmh::activation_kind(model.string_or("hidden_activation", "gelu_pytorch_tanh"));
    tied_ = llmh::is_tied(model, true);
    bias_ = llmh::bias_of(model, "attention_bias", false);
    rope_ = llmh::read_rope(model, sizes_.head_dim);
    sizes_.context_length = llmh::stretched_context(model, sizes_.context_length, rope_);
    scale_ = read_scale(model);
    score_cap_ = read_cap(model, "attn_logit_softcapping", 50.0);
    logit_cap_ = read_cap(model, "final_logit_softcapping", 30.0);
    const int64_t window = llmh::is_null(model, "sliding_window") ? 0 : model.int_or("sliding_window", 4096);
    windows_ = llmh::layer_windows(model, sizes_.n_layers, window, 2);
    llmh::refuse_experts(model);
    llmh::refuse_if_true(model, {"use_bidirectional_attention"});
    llmh::ignore_usual_keys(model);
    // The first two repeat hidden_activation and sliding_window; GGUF files give the head size as the rotary
    // one.
    model.ignore({"hidden_act", "sliding_window_size", "rotary_dim"});
  }

  void describe(llmh_model_info& info, llmh::States& states) const {
    llmh::fill_info(info, sizes_, tied_);
    llmh::add_states(states, sizes_, [this](int64_t i) { return windows_[static_cast<size_t>(i)]; });
  }

  void names(llmh::Names& names) const {
    const std::string layer = "model.layers.{i}.";
    llmh::gguf_ends(names);
    llmh::gguf_attention(names, layer);
    llmh::gguf_gated_mlp(names, layer);
    llmh::gguf_sandwich_norms(names, layer);
    llmh::ignore_buffers(names);
  }

  void build(llmh::Graph& graph) const {
    const llmh::RopeAngles angles = llmh::rope_angles(graph, rope_);
    const llmh::Scope model = graph.scope("model");
    llmh::Tensor x = model.embedding("embed_tokens", graph.input(LLMH_INPUT_TOKEN_IDS), sizes_.vocab_size,
                                     sizes_.hidden_size);
    x = llmh::scale(x, std::sqrt(static_cast<float>(sizes_.hidden_size)));
    for (int64_t i = 0; i < sizes_.n_layers; ++i) x = layer(model.scope("layers", i), i, x, angles);
    x = llmh::norm(model, "norm", llmh::output_rows(x), norm_);
    llmh::Tensor logits = llmh::lm_head(graph, x, sizes_.vocab_size, tied_, "model.embed_tokens.weight");
    if (logit_cap_ != 0.0F) logits = llmh::softcap(logits, logit_cap_);
    llmh::outputs(graph, x, logits);
  }

 private:
  // GGUF files do not store the scalar: it is the head size in all published models but the largest.
  float read_scale(const llmh::Model& model) const {
    const bool largest = model.is_gguf() && sizes_.n_layers == 46;
    const int64_t usual = largest           ? sizes_.hidden_size / sizes_.n_heads
                          : model.is_gguf() ? sizes_.head_dim
                                            : 256;
    const float scalar = model.float_or("query_pre_attn_scalar", static_cast<double>(usual));
    return model.float_or("attention_multiplier", 1.0F / std::sqrt(scalar));
  }

  // Null switches the cap off; without the key it has its default.
  static float read_cap(const llmh::Model& model, const char* key, double fallback) {
    return model.float_or(key, llmh::is_null(model, key) ? 0.0 : fallback);
  }

  llmh::Tensor layer(const llmh::Scope& at, int64_t index, llmh::Tensor x,
                     const llmh::RopeAngles& angles) const {
    const llmh::AttentionConfig attention{.layer = index,
                                          .n_heads = sizes_.n_heads,
                                          .n_kv_heads = sizes_.n_kv_heads,
                                          .head_dim = sizes_.head_dim,
                                          .qkv_bias = bias_,
                                          .out_bias = bias_,
                                          .scale = scale_,
                                          .softcap = score_cap_,
                                          .window = windows_[static_cast<size_t>(index)]};
    llmh::Tensor h = llmh::norm(at, "input_layernorm", x, norm_);
    h = llmh::self_attention(at.scope("self_attn"), h, attention, angles);
    x = x + llmh::norm(at, "post_attention_layernorm", h, norm_);
    h = llmh::norm(at, "pre_feedforward_layernorm", x, norm_);
    h = llmh::gated_mlp(at.scope("mlp"), h, sizes_.intermediate_size, activation_);
    return at.name("output", x + llmh::norm(at, "post_feedforward_layernorm", h, norm_));
  }

  llmh::DecoderSizes sizes_;
  llmh::NormConfig norm_;
  int32_t activation_;
  bool tied_;
  llmh::Bias bias_;
  llmh::RopeConfig rope_;
  float scale_, score_cap_, logit_cap_;
  std::vector<int64_t> windows_;
};

}  // namespace

LLMH_ARCH_PLUGIN(Gemma2);
