// GPT-NeoX (Black et al. 2022; Pythia, Biderman et al. 2023): attention and feed-forward side by side or one
// after the other, each under its own layer norm, and heads of which a part is rotated. query_key_value is
// ordered head by head; GGUF files have all of q, then k, then v.
#include <string>

#include "llmhost/decoder.hpp"

namespace {

class GptNeox {
 public:
  static int match(const llmh::Model& model) {
    const std::string type = model.string_or("model_type", "");
    return type == "gpt_neox" || type == "gptneox" ? LLMH_MATCH_EXACT : LLMH_MATCH_NONE;
  }

  explicit GptNeox(const llmh::Model& model) : sizes_(llmh::read_sizes(model)) {
    sizes_.intermediate_size = model.require_size("intermediate_size");
    norm_ = {.centred = true, .eps = model.float_or("layer_norm_eps", 1e-5), .bias = llmh::Bias::kRequired};
    activation_ = llmh::activation_kind(model.string_or("hidden_act", "gelu"));
    tied_ = llmh::is_tied(model, false, "embed_out.weight");
    parallel_ = model.bool_or("use_parallel_residual", true);
    attention_bias_ = llmh::bias_of(model, "attention_bias", true);
    order_ = model.is_gguf() ? llmh::QkvOrder::kContiguous : llmh::QkvOrder::kGrouped;
    const int64_t rotary_dim = llmh::read_rotary_dim(model, sizes_.head_dim, model.is_gguf() ? 1.0 : 0.25);
    rope_ = llmh::read_rope(model, rotary_dim, model.float_or("rope_theta", 10000.0), "rotary_emb_base");
    sizes_.context_length = llmh::stretched_context(model, sizes_.context_length, rope_);
    llmh::refuse_experts(model);
    llmh::ignore_usual_keys(model);
  }

  void describe(llmh_model_info& info, llmh::States& states) const {
    llmh::fill_info(info, sizes_, tied_);
    llmh::add_states(states, sizes_);
  }

  void names(llmh::Names& names) const {
    const std::string layer = "gpt_neox.layers.{i}.";
    llmh::gguf_ends(names, "gpt_neox.embed_in", "gpt_neox.final_layer_norm", "embed_out");
    names.gguf_module(layer + "input_layernorm", "blk.{i}.attn_norm");
    names.gguf_module(layer + "post_attention_layernorm", "blk.{i}.ffn_norm");
    names.gguf_module(layer + "attention.query_key_value", "blk.{i}.attn_qkv");
    names.gguf_module(layer + "attention.dense", "blk.{i}.attn_output");
    names.gguf_module(layer + "mlp.dense_h_to_4h", "blk.{i}.ffn_up");
    names.gguf_module(layer + "mlp.dense_4h_to_h", "blk.{i}.ffn_down");
    llmh::ignore_buffers(names, layer + "attention.");
  }

  void build(llmh::Graph& graph) const {
    const llmh::RopeAngles angles = llmh::rope_angles(graph, rope_);
    const llmh::Scope model = graph.scope("gpt_neox");
    llmh::Tensor x =
        model.embedding("embed_in", graph.input(LLMH_INPUT_TOKEN_IDS), sizes_.vocab_size, sizes_.hidden_size);
    for (int64_t i = 0; i < sizes_.n_layers; ++i) x = layer(model.scope("layers", i), i, x, angles);
    x = llmh::norm(model, "final_layer_norm", llmh::output_rows(x), norm_);
    llmh::outputs(graph, x,
                  llmh::lm_head(graph, x, sizes_.vocab_size, tied_, "gpt_neox.embed_in.weight",
                                llmh::Bias::kNone, "embed_out"));
  }

 private:
  llmh::Tensor attention(const llmh::Scope& at, int64_t index, llmh::Tensor x,
                         const llmh::RopeAngles& angles) const {
    const llmh::AttentionConfig c{.layer = index,
                                  .n_heads = sizes_.n_heads,
                                  .n_kv_heads = sizes_.n_heads,
                                  .head_dim = sizes_.head_dim,
                                  .qkv_bias = attention_bias_,
                                  .out_bias = attention_bias_};
    const llmh::Qkv qkv = llmh::project_fused_qkv(at, "query_key_value", x, order_, c);
    return at.linear("dense", llmh::attend(at, llmh::rotate_qk(qkv, angles, c), c), x.width(), c.out_bias);
  }

  llmh::Tensor layer(const llmh::Scope& at, int64_t index, llmh::Tensor x,
                     const llmh::RopeAngles& angles) const {
    const llmh::Tensor attended =
        attention(at.scope("attention"), index, llmh::norm(at, "input_layernorm", x, norm_), angles);
    const llmh::Tensor after = x + attended;
    const llmh::Tensor h = llmh::norm(at, "post_attention_layernorm", parallel_ ? x : after, norm_);
    return at.name("output",
                   after + llmh::plain_mlp(at.scope("mlp"), h, sizes_.intermediate_size, activation_,
                                           llmh::Bias::kRequired, {"dense_h_to_4h", "dense_4h_to_h"}));
  }

  llmh::DecoderSizes sizes_;
  llmh::NormConfig norm_;
  int32_t activation_;
  bool tied_, parallel_;
  llmh::Bias attention_bias_;
  llmh::QkvOrder order_;
  llmh::RopeConfig rope_;
};

}  // namespace

LLMH_ARCH_PLUGIN(GptNeox);
