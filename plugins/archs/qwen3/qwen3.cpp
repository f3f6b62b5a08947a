// Qwen 3 (Qwen team 2025): the Llama decoder with a norm of each head of q and k before the rotation, and
// heads whose size does not follow from the hidden size.
#include <string>
#include <vector>

#include "llmhost/decoder.hpp"

namespace {

using llmh::Bias;

class Qwen3 {
 public:
  static int match(const llmh::Model& model) {
    return model.string_or("model_type", "") == "qwen3" ? LLMH_MATCH_EXACT : LLMH_MATCH_NONE;
  }

  explicit Qwen3(const llmh::Model& model) : sizes_(llmh::read_sizes(model, {}, 32768)) {
    sizes_.intermediate_size = model.require_size("intermediate_size");
    sizes_.head_dim = model.size_or("head_dim", 128);
    norm_.eps = model.float_or("rms_norm_eps", 1e-6);
    activation_ = llmh::activation_kind(model.string_or("hidden_act", "silu"));
    tied_ = llmh::is_tied(model, false);
    attention_bias_ = llmh::bias_of(model, "attention_bias", false);
    rope_ = llmh::read_rope(model, llmh::read_rotary_dim(model, sizes_.head_dim));
    sizes_.context_length = llmh::stretched_context(model, sizes_.context_length, rope_);
    windows_ = llmh::read_switched_windows(model, sizes_);
    llmh::refuse_experts(model);
    llmh::refuse_if_true(model, {"use_mrope"});
    llmh::refuse_if_false(model, {"is_causal", "use_qk_norm"});
    llmh::ignore_usual_keys(model);
  }

  void describe(llmh_model_info& info, llmh::States& states) const {
    llmh::fill_info(info, sizes_, tied_);
    llmh::add_states(states, sizes_, [this](int64_t i) { return windows_[static_cast<size_t>(i)]; });
  }

  void names(llmh::Names& names) const {
    const std::string layer = "model.layers.{i}.";
    llmh::gguf_ends(names);
    llmh::gguf_attention(names, layer);
    llmh::gguf_fused_qkv(names, layer, sizes_.n_heads, sizes_.n_kv_heads, sizes_.head_dim);
    llmh::gguf_gated_mlp(names, layer);
    names.gguf_module(layer + "input_layernorm", "blk.{i}.attn_norm");
    names.gguf_module(layer + "post_attention_layernorm", "blk.{i}.ffn_norm");
    llmh::ignore_buffers(names);
  }

  void build(llmh::Graph& graph) const {
    const llmh::RopeAngles angles = llmh::rope_angles(graph, rope_);
    llmh::build_decoder(graph, sizes_, norm_, tied_, [&](const llmh::Scope& at, int64_t i, llmh::Tensor x) {
      return layer(at, i, x, angles);
    });
  }

 private:
  llmh::Tensor attention(const llmh::Scope& at, int64_t index, llmh::Tensor x,
                         const llmh::RopeAngles& angles) const {
    const llmh::AttentionConfig c{.layer = index,
                                  .n_heads = sizes_.n_heads,
                                  .n_kv_heads = sizes_.n_kv_heads,
                                  .head_dim = sizes_.head_dim,
                                  .qkv_bias = attention_bias_,
                                  .out_bias = attention_bias_,
                                  .window = windows_[static_cast<size_t>(index)]};
    const llmh::Qkv normed = llmh::norm_qk(at, llmh::project_qkv(at, x, c), norm_, c);
    return at.linear("o_proj", llmh::attend(at, llmh::rotate_qk(normed, angles, c), c), x.width(),
                     c.out_bias);
  }

  llmh::Tensor layer(const llmh::Scope& at, int64_t index, llmh::Tensor x,
                     const llmh::RopeAngles& angles) const {
    llmh::Tensor h = llmh::norm(at, "input_layernorm", x, norm_);
    x = x + attention(at.scope("self_attn"), index, h, angles);
    h = llmh::norm(at, "post_attention_layernorm", x, norm_);
    return at.name("output", x + llmh::gated_mlp(at.scope("mlp"), h, sizes_.intermediate_size, activation_));
  }

  llmh::DecoderSizes sizes_;
  llmh::NormConfig norm_;
  int32_t activation_;
  bool tied_;
  Bias attention_bias_;
  llmh::RopeConfig rope_;
  std::vector<int64_t> windows_;
};

}  // namespace

LLMH_ARCH_PLUGIN(Qwen3);
