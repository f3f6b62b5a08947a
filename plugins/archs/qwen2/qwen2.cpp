// Qwen 1.5, 2 and 2.5 (Qwen team 2024): the Llama decoder with biases of q, k and v, and in some checkpoints
// a sliding window in the upper layers.
#include <string>
#include <vector>

#include "llmhost/decoder.hpp"

namespace {

using llmh::Bias;

class Qwen2 {
 public:
  static int match(const llmh::Model& model) {
    return model.string_or("model_type", "") == "qwen2" ? LLMH_MATCH_EXACT : LLMH_MATCH_NONE;
  }

  explicit Qwen2(const llmh::Model& model) : sizes_(llmh::read_sizes(model, {}, 32768)) {
    sizes_.intermediate_size = model.require_size("intermediate_size");
    norm_.eps = model.float_or("rms_norm_eps", 1e-6);
    activation_ = llmh::activation_kind(model.string_or("hidden_act", "silu"));
    tied_ = llmh::is_tied(model, false);
    qkv_bias_ = model.is_gguf() ? Bias::kIfStored : Bias::kRequired;
    rope_ = llmh::read_rope(model, llmh::read_rotary_dim(model, sizes_.head_dim));
    sizes_.context_length = llmh::stretched_context(model, sizes_.context_length, rope_);
    limit_to_one_chunk(model);
    windows_ = llmh::read_switched_windows(model, sizes_);
    llmh::refuse_experts(model);
    llmh::refuse_if_true(model,
                         {"use_mrope", "use_dynamic_ntk", "use_logn_attn", "qk_layernorm", "use_qk_norm"});
    llmh::refuse_if_false(model, {"is_causal"});
    llmh::ignore_usual_keys(model);
    // The biases are as stored, whatever is written of them.
    model.ignore({"attention_bias", "qkv_bias", "no_bias", "use_rms_norm"});
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
  // Dual chunk attention (An et al. 2024) is plain attention up to the length of the first chunk.
  void limit_to_one_chunk(const llmh::Model& model) {
    const std::string section = "dual_chunk_attention_config";
    if (!model.has(section)) return;
    const int64_t chunk = model.size_or(section + ".original_max_position_embeddings",
                                        model.size_or(section + ".chunk_size", sizes_.context_length));
    sizes_.context_length = std::min(sizes_.context_length, chunk);
    model.ignore({section});
  }

  llmh::Tensor layer(const llmh::Scope& at, int64_t index, llmh::Tensor x,
                     const llmh::RopeAngles& angles) const {
    const llmh::AttentionConfig attention{.layer = index,
                                          .n_heads = sizes_.n_heads,
                                          .n_kv_heads = sizes_.n_kv_heads,
                                          .head_dim = sizes_.head_dim,
                                          .qkv_bias = qkv_bias_,
                                          .window = windows_[static_cast<size_t>(index)]};
    llmh::Tensor h = llmh::norm(at, "input_layernorm", x, norm_);
    x = x + llmh::self_attention(at.scope("self_attn"), h, attention, angles);
    h = llmh::norm(at, "post_attention_layernorm", x, norm_);
    return at.name("output", x + llmh::gated_mlp(at.scope("mlp"), h, sizes_.intermediate_size, activation_));
  }

  llmh::DecoderSizes sizes_;
  llmh::NormConfig norm_;
  int32_t activation_;
  bool tied_;
  Bias qkv_bias_;
  llmh::RopeConfig rope_;
  std::vector<int64_t> windows_;
};

}  // namespace

LLMH_ARCH_PLUGIN(Qwen2);
