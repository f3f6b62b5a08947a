// Command-R7B and Command-A (Cohere 2024, 2025): attention and feed-forward side by side under one layer norm
// without bias, logits times a constant. Three of four layers look back over a window and rotate neighbouring
// elements; the fourth sees everything and knows no positions.
#include <string>
#include <vector>

#include "llmhost/decoder.hpp"

namespace {

class Cohere2 {
 public:
  static int match(const llmh::Model& model) {
    return model.string_or("model_type", "") == "cohere2" ? LLMH_MATCH_EXACT : LLMH_MATCH_NONE;
  }

  explicit Cohere2(const llmh::Model& model) : sizes_(llmh::read_sizes(model, {}, 8192)) {
    sizes_.intermediate_size = model.require_size("intermediate_size");
    norm_ = {.centred = true, .eps = model.float_or("layer_norm_eps", 1e-5)};
    activation_ = llmh::activation_kind(model.string_or("hidden_act", "silu"));
    tied_ = llmh::is_tied(model, true);
    bias_ = llmh::bias_of(model, "attention_bias", false);
    logit_scale_ = model.float_or("logit_scale", model.is_gguf() ? 1.0 : 0.0625);
    rope_ = llmh::read_rope(model, llmh::read_rotary_dim(model, sizes_.head_dim));
    sizes_.context_length = llmh::stretched_context(model, sizes_.context_length, rope_);
    const int64_t window = llmh::is_null(model, "sliding_window") ? 0 : model.int_or("sliding_window", 4096);
    windows_ = llmh::layer_windows(model, sizes_.n_layers, window, 4);
    refuse_other_maths(model);
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
  static void refuse_other_maths(const llmh::Model& model) {
    llmh::refuse_experts(model);
    llmh::refuse_if_true(model, {"use_qk_norm"});
    llmh::refuse_if_false(model, {"use_gated_activation", "use_parallel_block"});
    if (const std::string order = model.string_or("order_of_interleaved_layers", "local_attn_first");
        order != "local_attn_first")
      llmh::refuse("'order_of_interleaved_layers' is '" + order + "'");
    if (const std::string type = model.string_or("position_embedding_type", "rope_gptj"); type != "rope_gptj")
      llmh::refuse("'position_embedding_type' is '" + type + "'");
    llmh::ignore_usual_keys(model);
    // layer_switch repeats the pattern; the others say how the output head is kept, as tie_word_embeddings
    // does.
    model.ignore({"layer_switch", "use_embedding_sharing", "use_parallel_embedding"});
  }

  llmh::Tensor attention(const llmh::Scope& at, int64_t index, llmh::Tensor x,
                         const llmh::RopeAngles& angles) const {
    const llmh::AttentionConfig c{.layer = index,
                                  .n_heads = sizes_.n_heads,
                                  .n_kv_heads = sizes_.n_kv_heads,
                                  .head_dim = sizes_.head_dim,
                                  .qkv_bias = bias_,
                                  .out_bias = bias_,
                                  .window = windows_[static_cast<size_t>(index)]};
    llmh::Qkv qkv = llmh::project_qkv(at, x, c);
    if (c.window != 0) qkv = llmh::rotate_qk(qkv, angles, c, LLMH_ROPE_INTERLEAVED);
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
  bool tied_;
  llmh::Bias bias_;
  float logit_scale_;
  llmh::RopeConfig rope_;
  std::vector<int64_t> windows_;
};

}  // namespace

LLMH_ARCH_PLUGIN(Cohere2);
