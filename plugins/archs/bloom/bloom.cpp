// BLOOM (BigScience Workshop 2022): linear biases of the scores instead of positions, a layer norm right
// after the embedding, biases everywhere. query_key_value is ordered head by head; GGUF files have all of q,
// then k, then v. Hub names come with or without "transformer." in front.
#include <string>
#include <vector>

#include "llmhost/decoder.hpp"

namespace {

class Bloom {
 public:
  static int match(const llmh::Model& model) {
    return model.string_or("model_type", "") == "bloom" ? LLMH_MATCH_EXACT : LLMH_MATCH_NONE;
  }

  explicit Bloom(const llmh::Model& model)
      : bare_(model.has_tensor("word_embeddings.weight")), sizes_(read_bloom_sizes(model)) {
    norm_ = {.centred = true,
             .eps = model.float_or(model.is_gguf() ? "layer_norm_eps" : "layer_norm_epsilon", 1e-5),
             .bias = llmh::Bias::kRequired};
    tied_ = llmh::is_tied(model, true);
    residual_after_norm_ = model.bool_or("apply_residual_connection_post_layernorm", false);
    order_ = model.is_gguf() ? llmh::QkvOrder::kContiguous : llmh::QkvOrder::kGrouped;
    if (const int64_t inner = model.int_or("n_inner", sizes_.intermediate_size);
        inner != sizes_.intermediate_size)
      llmh::refuse("'n_inner' is " + std::to_string(inner));
    llmh::refuse_unless(model, "alibi_bias_max", 8.0);
    llmh::refuse_experts(model);
    llmh::ignore_usual_keys(model);
    // How training fused and ordered its operations, not their values.
    model.ignore({"attention_softmax_in_fp32", "bias_dropout_fusion", "masked_softmax_fusion", "offset_alibi",
                  "skip_bias_add", "skip_bias_add_qkv", "slow_but_exact", "hidden_dropout_prob"});
  }

  void describe(llmh_model_info& info, llmh::States& states) const {
    llmh::fill_info(info, sizes_, tied_);
    llmh::add_states(states, sizes_);
  }

  void names(llmh::Names& names) const {
    const std::string layer = "transformer.h.{i}.";
    llmh::gguf_ends(names, "transformer.word_embeddings", "transformer.ln_f");
    names.gguf_module("transformer.word_embeddings_layernorm", "token_embd_norm");
    names.gguf_module(layer + "input_layernorm", "blk.{i}.attn_norm");
    names.gguf_module(layer + "post_attention_layernorm", "blk.{i}.ffn_norm");
    names.gguf_module(layer + "self_attention.query_key_value", "blk.{i}.attn_qkv");
    names.gguf_module(layer + "self_attention.dense", "blk.{i}.attn_output");
    names.gguf_module(layer + "mlp.dense_h_to_4h", "blk.{i}.ffn_up");
    names.gguf_module(layer + "mlp.dense_4h_to_h", "blk.{i}.ffn_down");
    if (bare_ && !names.is_gguf()) hub_names(names);
  }

  void build(llmh::Graph& graph) const {
    const llmh::Tensor slopes =
        graph.constant("alibi_slopes", {sizes_.n_heads}, llmh::alibi_slopes(sizes_.n_heads));
    const llmh::Scope model = graph.scope("transformer");
    llmh::Tensor x = model.embedding("word_embeddings", graph.input(LLMH_INPUT_TOKEN_IDS), sizes_.vocab_size,
                                     sizes_.hidden_size);
    x = llmh::norm(model, "word_embeddings_layernorm", x, norm_);
    for (int64_t i = 0; i < sizes_.n_layers; ++i) x = layer(model.scope("h", i), i, x, slopes);
    x = llmh::norm(model, "ln_f", llmh::output_rows(x), norm_);
    llmh::outputs(graph, x,
                  llmh::lm_head(graph, x, sizes_.vocab_size, tied_, "transformer.word_embeddings.weight"));
  }

 private:
  // Configs name the sizes in an older and a newer way, in any mixture.
  static llmh::DecoderSizes read_bloom_sizes(const llmh::Model& model) {
    const auto either = [&](const char* older, const char* newer) {
      return model.has(older) ? older : newer;
    };
    llmh::SizeKeys keys;
    keys.n_layers = either("n_layer", "num_hidden_layers");
    keys.hidden_size = either("n_embed", "hidden_size");
    keys.n_heads = either("n_head", "num_attention_heads");
    keys.n_kv_heads = "";
    keys.intermediate_size = "";
    keys.context_length = either("seq_length", "max_position_embeddings");
    llmh::DecoderSizes sizes = llmh::read_sizes(model, keys);
    sizes.intermediate_size = 4 * sizes.hidden_size;
    // What the older key says is said again by the newer one.
    model.ignore({"num_hidden_layers", "hidden_size", "num_attention_heads", "num_key_value_heads",
                  "intermediate_size", "max_position_embeddings"});
    return sizes;
  }

  static void hub_names(llmh::Names& names) {
    const std::string layer = "h.{i}.";
    for (const std::string& module :
         {std::string("word_embeddings"), std::string("word_embeddings_layernorm"), std::string("ln_f"),
          layer + "input_layernorm", layer + "post_attention_layernorm",
          layer + "self_attention.query_key_value", layer + "self_attention.dense",
          layer + "mlp.dense_h_to_4h", layer + "mlp.dense_4h_to_h"})
      for (const char* part : {".weight", ".bias"}) names.map("transformer." + module + part, module + part);
  }

  llmh::Tensor layer(const llmh::Scope& at, int64_t index, llmh::Tensor x, llmh::Tensor slopes) const {
    const llmh::AttentionConfig c{.layer = index,
                                  .n_heads = sizes_.n_heads,
                                  .n_kv_heads = sizes_.n_heads,
                                  .head_dim = sizes_.head_dim,
                                  .qkv_bias = llmh::Bias::kRequired,
                                  .out_bias = llmh::Bias::kRequired};
    const llmh::Scope attention = at.scope("self_attention");
    llmh::Tensor h = llmh::norm(at, "input_layernorm", x, norm_);
    const llmh::Qkv qkv = llmh::project_fused_qkv(attention, "query_key_value", h, order_, c);
    const llmh::Tensor attended = llmh::attend(attention, qkv, c, {.alibi_slopes = slopes, .sinks = {}});
    x = (residual_after_norm_ ? h : x) + attention.linear("dense", attended, x.width(), c.out_bias);
    h = llmh::norm(at, "post_attention_layernorm", x, norm_);
    const llmh::Tensor fed = llmh::plain_mlp(at.scope("mlp"), h, sizes_.intermediate_size, LLMH_ACT_GELU_TANH,
                                             llmh::Bias::kRequired, {"dense_h_to_4h", "dense_4h_to_h"});
    return at.name("output", (residual_after_norm_ ? h : x) + fed);
  }

  bool bare_;  // names without "transformer."
  llmh::DecoderSizes sizes_;
  llmh::NormConfig norm_;
  bool tied_, residual_after_norm_;
  llmh::QkvOrder order_;
};

}  // namespace

LLMH_ARCH_PLUGIN(Bloom);
