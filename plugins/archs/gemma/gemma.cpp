// Gemma (Gemma Team 2024): a pre-norm decoder whose embeddings are scaled by sqrt(hidden size), whose
// checkpoints store norm weights less 1 and whose heads need not add up to the hidden size. GGUF files store
// the whole weight.
#include <cmath>
#include <string>

#include "llmhost/decoder.hpp"

namespace {

class Gemma {
 public:
  static int match(const llmh::Model& model) {
    return model.string_or("model_type", "") == "gemma" ? LLMH_MATCH_EXACT : LLMH_MATCH_NONE;
  }

  explicit Gemma(const llmh::Model& model) : sizes_(llmh::read_sizes(model, {}, 8192)) {
    sizes_.intermediate_size = model.require_size("intermediate_size");
    sizes_.head_dim = model.size_or("head_dim", 256);
    norm_ = {.eps = model.float_or("rms_norm_eps", 1e-6), .weight_offset = model.is_gguf() ? 0.0F : 1.0F};
    activation_ = read_activation(model);
    tied_ = llmh::is_tied(model, true);
    bias_ = llmh::bias_of(model, "attention_bias", false);
    model.ignore({"rotary_dim"});  // of GGUF files, where it is the head size
    rope_ = llmh::read_rope(model, sizes_.head_dim);
    sizes_.context_length = llmh::stretched_context(model, sizes_.context_length, rope_);
    llmh::refuse_experts(model);
    llmh::refuse_if_true(model, {"use_bidirectional_attention"});
    llmh::refuse_other_layer_types(model);
    llmh::ignore_usual_keys(model);
  }

  void describe(llmh_model_info& info, llmh::States& states) const {
    llmh::fill_info(info, sizes_, tied_);
    llmh::add_states(states, sizes_);
  }

  void names(llmh::Names& names) const {
    const std::string layer = "model.layers.{i}.";
    llmh::gguf_ends(names);
    llmh::gguf_attention(names, layer);
    llmh::gguf_gated_mlp(names, layer);
    names.gguf_module(layer + "input_layernorm", "blk.{i}.attn_norm");
    names.gguf_module(layer + "post_attention_layernorm", "blk.{i}.ffn_norm");
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
    llmh::outputs(graph, x, llmh::lm_head(graph, x, sizes_.vocab_size, tied_, "model.embed_tokens.weight"));
  }

 private:
  // The first configs say "gelu" and mean its tanh form, which a later key then names.
  static int32_t read_activation(const llmh::Model& model) {
    const auto kind = [&](const char* key) {
      const std::string name = model.string_or(key, "gelu_pytorch_tanh");
      return name == "gelu" ? LLMH_ACT_GELU_TANH : llmh::activation_kind(name);
    };
    const int32_t act = kind("hidden_act");
    if (model.has("hidden_activation") && kind("hidden_activation") != act)
      llmh::refuse("'hidden_activation' is another function than 'hidden_act'");
    return act;
  }

  llmh::Tensor layer(const llmh::Scope& at, int64_t index, llmh::Tensor x,
                     const llmh::RopeAngles& angles) const {
    const llmh::AttentionConfig attention{.layer = index,
                                          .n_heads = sizes_.n_heads,
                                          .n_kv_heads = sizes_.n_kv_heads,
                                          .head_dim = sizes_.head_dim,
                                          .qkv_bias = bias_,
                                          .out_bias = bias_};
    llmh::Tensor h = llmh::norm(at, "input_layernorm", x, norm_);
    x = x + llmh::self_attention(at.scope("self_attn"), h, attention, angles);
    h = llmh::norm(at, "post_attention_layernorm", x, norm_);
    return at.name("output", x + llmh::gated_mlp(at.scope("mlp"), h, sizes_.intermediate_size, activation_));
  }

  llmh::DecoderSizes sizes_;
  llmh::NormConfig norm_;
  int32_t activation_;
  bool tied_;
  llmh::Bias bias_;
  llmh::RopeConfig rope_;
};

}  // namespace

LLMH_ARCH_PLUGIN(Gemma);
