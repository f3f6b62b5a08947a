// Phi 1, 1.5 and 2 (Li et al. 2023): one LayerNorm in front of attention and MLP, whose results are added
// together; part of each head is rotated; biases everywhere, on the output head too.
#include <string>

#include "llmhost/decoder.hpp"

namespace {

using llmh::Bias;

class Phi {
 public:
  static int match(const llmh::Model& model) {
    const std::string type = model.string_or("model_type", "");
    return type == "phi" || (type == "phi2" && model.is_gguf()) ? LLMH_MATCH_EXACT : LLMH_MATCH_NONE;
  }

  explicit Phi(const llmh::Model& model) : sizes_(llmh::read_sizes(model, {}, 2048)) {
    sizes_.intermediate_size = llmh::intermediate_or(sizes_, 8192);
    norm_ = {.centred = true, .eps = model.float_or("layer_norm_eps", 1e-5), .bias = Bias::kRequired};
    activation_ = llmh::activation_kind(model.string_or("hidden_act", "gelu_new"));
    tied_ = llmh::is_tied(model, false);
    qk_norm_ = model.bool_or("qk_layernorm", false);
    rope_ = llmh::read_rope(model, llmh::read_rotary_dim(model, sizes_.head_dim, 0.5));
    sizes_.context_length = llmh::stretched_context(model, sizes_.context_length, rope_);
    llmh::refuse_experts(model);
    llmh::refuse_if_false(model, {"is_causal", "use_parallel_residual"});
    llmh::refuse_other_layer_types(model);
    llmh::ignore_usual_keys(model);
  }

  void describe(llmh_model_info& info, llmh::States& states) const {
    llmh::fill_info(info, sizes_, tied_);
    llmh::add_states(states, sizes_);
  }

  void names(llmh::Names& names) const {
    const std::string layer = "model.layers.{i}.";
    llmh::gguf_ends(names, "model.embed_tokens", "model.final_layernorm");
    llmh::gguf_attention(names, layer);
    llmh::gguf_fused_qkv(names, layer, sizes_.n_heads, sizes_.n_kv_heads, sizes_.head_dim);
    names.gguf_module(layer + "self_attn.dense", "blk.{i}.attn_output");
    names.gguf_module(layer + "mlp.fc1", "blk.{i}.ffn_up");
    names.gguf_module(layer + "mlp.fc2", "blk.{i}.ffn_down");
    names.gguf_module(layer + "input_layernorm", "blk.{i}.attn_norm");
    llmh::ignore_buffers(names);
  }

  void build(llmh::Graph& graph) const {
    const llmh::RopeAngles angles = llmh::rope_angles(graph, rope_);
    const llmh::Scope model = graph.scope("model");
    llmh::Tensor x = model.embedding("embed_tokens", graph.input(LLMH_INPUT_TOKEN_IDS), sizes_.vocab_size,
                                     sizes_.hidden_size);
    for (int64_t i = 0; i < sizes_.n_layers; ++i) x = layer(model.scope("layers", i), i, x, angles);
    x = llmh::norm(model, "final_layernorm", llmh::output_rows(x), norm_);
    llmh::Tensor logits =
        llmh::lm_head(graph, x, sizes_.vocab_size, tied_, "model.embed_tokens.weight", Bias::kRequired);
    if (tied_) logits = logits + graph.weight("lm_head.bias", {sizes_.vocab_size});
    llmh::outputs(graph, x, logits);
  }

 private:
  llmh::Tensor attention(const llmh::Scope& at, int64_t index, llmh::Tensor x,
                         const llmh::RopeAngles& angles) const {
    const llmh::AttentionConfig c{.layer = index,
                                  .n_heads = sizes_.n_heads,
                                  .n_kv_heads = sizes_.n_kv_heads,
                                  .head_dim = sizes_.head_dim,
                                  .qkv_bias = Bias::kRequired};
    llmh::Qkv qkv = llmh::project_qkv(at, x, c);
    if (qk_norm_) qkv = llmh::norm_qk(at, qkv, norm_, c, "q_layernorm", "k_layernorm");
    return at.linear("dense", llmh::attend(at, llmh::rotate_qk(qkv, angles, c), c), x.width(),
                     Bias::kRequired);
  }

  llmh::Tensor layer(const llmh::Scope& at, int64_t index, llmh::Tensor x,
                     const llmh::RopeAngles& angles) const {
    const llmh::Tensor h = llmh::norm(at, "input_layernorm", x, norm_);
    const llmh::Tensor attended = attention(at.scope("self_attn"), index, h, angles);
    const llmh::Tensor fed = llmh::plain_mlp(at.scope("mlp"), h, sizes_.intermediate_size, activation_,
                                             Bias::kRequired, {"fc1", "fc2"});
    return at.name("output", attended + fed + x);
  }

  llmh::DecoderSizes sizes_;
  llmh::NormConfig norm_;
  int32_t activation_;
  bool tied_, qk_norm_;
  llmh::RopeConfig rope_;
};

}  // namespace

LLMH_ARCH_PLUGIN(Phi);
