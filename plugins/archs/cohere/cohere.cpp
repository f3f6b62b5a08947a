// Command-R (Cohere 2024): attention and feed-forward side by side under one layer norm without bias, rotary
// pairs of neighbouring elements, logits times a constant; the larger models normalise each head of q and k
// with a weight of its own.
#include <string>

#include "llmhost/decoder.hpp"

namespace {

class Cohere {
 public:
  static int match(const llmh::Model& model) {
    const std::string type = model.string_or("model_type", "");
    return type == "cohere" || type == "command-r" ? LLMH_MATCH_EXACT : LLMH_MATCH_NONE;
  }

  explicit Cohere(const llmh::Model& model) : sizes_(llmh::read_sizes(model, {}, 8192)) {
    sizes_.intermediate_size = model.require_size("intermediate_size");
    // The length that it was trained on at last; the other key has that of an earlier stage.
    if (model.kind_of("model_max_length") == LLMH_KIND_OF_INT)
      sizes_.context_length = model.size_or("model_max_length", sizes_.context_length);
    norm_ = {.centred = true, .eps = model.float_or("layer_norm_eps", 1e-5)};
    activation_ = llmh::activation_kind(model.string_or("hidden_act", "silu"));
    tied_ = llmh::is_tied(model, true);
    bias_ = llmh::bias_of(model, "attention_bias", false);
    logit_scale_ = model.float_or("logit_scale", model.is_gguf() ? 1.0 : 0.0625);
    head_norms_ =
        model.is_gguf() ? model.has_tensor("blk.0.attn_q_norm.weight") : model.bool_or("use_qk_norm", false);
    rope_ = llmh::read_rope(model, sizes_.head_dim, model.is_gguf() ? 10000.0 : 500000.0);
    sizes_.context_length = llmh::stretched_context(model, sizes_.context_length, rope_);
    llmh::refuse_experts(model);
    llmh::refuse_other_layer_types(model);
    llmh::ignore_usual_keys(model);
    model.ignore({"rotary_dim"});  // of GGUF files, where it is the head size
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
    llmh::ignore_buffers(names);
  }

  void build(llmh::Graph& graph) const {
    const llmh::RopeAngles angles = llmh::rope_angles(graph, rope_);
    const llmh::Scope model = graph.scope("model");
    llmh::Tensor x = model.embedding("embed_tokens", graph.input(LLMH_INPUT_TOKEN_IDS), sizes_.vocab_size,
                                     sizes_.hidden_size);
    for (int64_t i = 0; i < sizes_.n_layers; ++i) x = layer(model.scope("layers", i), i, x, angles);
    x = llmh::norm(model, "norm", llmh::output_rows(x), norm_);
    const llmh::Tensor logits =
        llmh::lm_head(graph, x, sizes_.vocab_size, tied_, "model.embed_tokens.weight");
    llmh::outputs(graph, x, llmh::scale(logits, logit_scale_));
  }

 private:
  llmh::Tensor attention(const llmh::Scope& at, int64_t index, llmh::Tensor x,
                         const llmh::RopeAngles& angles) const {
    const llmh::AttentionConfig c{.layer = index,
                                  .n_heads = sizes_.n_heads,
                                  .n_kv_heads = sizes_.n_kv_heads,
                                  .head_dim = sizes_.head_dim,
                                  .qkv_bias = bias_,
                                  .out_bias = bias_};
    llmh::Qkv qkv = llmh::project_qkv(at, x, c);
    if (head_norms_) {
      qkv.q = llmh::each_head_norm(at, "q_norm", qkv.q, c.n_heads, norm_);
      qkv.k = llmh::each_head_norm(at, "k_norm", qkv.k, c.n_kv_heads, norm_);
    }
    qkv = llmh::rotate_qk(qkv, angles, c, LLMH_ROPE_INTERLEAVED);
    return at.linear("o_proj", llmh::attend(at, qkv, c), x.width(), c.out_bias);
  }

  llmh::Tensor layer(const llmh::Scope& at, int64_t index, llmh::Tensor x,
                     const llmh::RopeAngles& angles) const {
    const llmh::Tensor h = llmh::norm(at, "input_layernorm", x, norm_);
    const llmh::Tensor attended = attention(at.scope("self_attn"), index, h, angles);
    return at.name("output",
                   x + attended + llmh::gated_mlp(at.scope("mlp"), h, sizes_.intermediate_size, activation_));
  }

  llmh::DecoderSizes sizes_;
  llmh::NormConfig norm_;
  int32_t activation_;
  bool tied_, head_norms_;
  llmh::Bias bias_;
  float logit_scale_;
  llmh::RopeConfig rope_;
};

}  // namespace

LLMH_ARCH_PLUGIN(Cohere);
