// Qwen 1 (Bai et al. 2023): the Llama decoder with one fused projection of q, k and v that has a bias. Beyond
// the length that it was trained with, the original code changes the base of the rotation and scales queries
// by position; neither is computed here, so that such a checkpoint's context ends there.
#include <string>

#include "llmhost/decoder.hpp"

namespace {

using llmh::Bias;

llmh::SizeKeys hub_keys() {
  llmh::SizeKeys keys;
  keys.n_kv_heads = "";
  return keys;
}

class Qwen {
 public:
  static int match(const llmh::Model& model) {
    return model.string_or("model_type", "") == "qwen" ? LLMH_MATCH_EXACT : LLMH_MATCH_NONE;
  }

  explicit Qwen(const llmh::Model& model)
      : sizes_(llmh::read_sizes(model, llmh::size_keys(model, hub_keys()), 8192)) {
    // The config counts both branches of the MLP.
    sizes_.intermediate_size = model.require_size("intermediate_size") / 2;
    sizes_.head_dim = model.size_or("kv_channels", sizes_.head_dim);
    norm_.eps = model.float_or(model.is_gguf() ? "rms_norm_eps" : "layer_norm_epsilon", 1e-6);
    tied_ = llmh::is_tied(model, false);
    other_bias_ = model.bool_or("no_bias", true) ? Bias::kNone : Bias::kRequired;
    rope_ = llmh::read_rope(model, llmh::read_rotary_dim(model, sizes_.head_dim), 10000.0,
                            model.is_gguf() ? "rope_theta" : "rotary_emb_base");
    const bool dynamic_base = model.bool_or("use_dynamic_ntk", !model.is_gguf());
    const bool long_queries = model.bool_or("use_logn_attn", !model.is_gguf());
    if (dynamic_base || long_queries) sizes_.context_length = model.size_or("seq_length", 2048);
    llmh::refuse_experts(model);
    llmh::refuse_if_true(model, {"apply_residual_connection_post_layernorm"});
    llmh::refuse_if_false(model, {"scale_attn_weights"});
    llmh::ignore_usual_keys(model);
    // How the original code computes: number formats of softmax and cache, export.
    model.ignore({"softmax_in_fp32", "use_cache_quantization", "use_cache_kernel", "onnx_safe",
                  "params_dtype", "bias_dropout_fusion", "padded_vocab_size", "tokenizer_type"});
  }

  void describe(llmh_model_info& info, llmh::States& states) const {
    llmh::fill_info(info, sizes_, tied_);
    llmh::add_states(states, sizes_);
  }

  void names(llmh::Names& names) const {
    const std::string layer = "transformer.h.{i}.";
    llmh::gguf_ends(names, "transformer.wte", "transformer.ln_f");
    names.gguf_module(layer + "attn.c_attn", "blk.{i}.attn_qkv");
    names.gguf_module(layer + "attn.c_proj", "blk.{i}.attn_output");
    names.gguf_module(layer + "mlp.w1", "blk.{i}.ffn_up");
    names.gguf_module(layer + "mlp.w2", "blk.{i}.ffn_gate");
    names.gguf_module(layer + "mlp.c_proj", "blk.{i}.ffn_down");
    names.gguf_module(layer + "ln_1", "blk.{i}.attn_norm");
    names.gguf_module(layer + "ln_2", "blk.{i}.ffn_norm");
    llmh::ignore_buffers(names, layer + "attn.");
    names.ignore("transformer.rotary_emb.inv_freq");
    names.ignore(layer + "attn.logn_tensor");
    names.ignore("blk.{i}.attn_rot_embd");
  }

  void build(llmh::Graph& graph) const {
    const llmh::RopeAngles angles = llmh::rope_angles(graph, rope_);
    const llmh::Scope model = graph.scope("transformer");
    llmh::Tensor x =
        model.embedding("wte", graph.input(LLMH_INPUT_TOKEN_IDS), sizes_.vocab_size, sizes_.hidden_size);
    for (int64_t i = 0; i < sizes_.n_layers; ++i) x = layer(model.scope("h", i), i, x, angles);
    x = llmh::norm(model, "ln_f", llmh::output_rows(x), norm_);
    llmh::outputs(graph, x, llmh::lm_head(graph, x, sizes_.vocab_size, tied_, "transformer.wte.weight"));
  }

 private:
  llmh::Tensor attention(const llmh::Scope& at, int64_t index, llmh::Tensor x,
                         const llmh::RopeAngles& angles) const {
    const llmh::AttentionConfig c{.layer = index,
                                  .n_heads = sizes_.n_heads,
                                  .n_kv_heads = sizes_.n_kv_heads,
                                  .head_dim = sizes_.head_dim,
                                  .qkv_bias = Bias::kRequired};
    const llmh::Qkv qkv = llmh::project_fused_qkv(at, "c_attn", x, llmh::QkvOrder::kContiguous, c);
    return at.linear("c_proj", llmh::attend(at, llmh::rotate_qk(qkv, angles, c), c), x.width(), other_bias_);
  }

  // The second matrix is the activated one.
  llmh::Tensor mlp(const llmh::Scope& at, llmh::Tensor x) const {
    const llmh::Tensor up = at.linear("w1", x, sizes_.intermediate_size, other_bias_);
    const llmh::Tensor gate = at.linear("w2", x, sizes_.intermediate_size, other_bias_);
    return at.linear("c_proj", llmh::gated_activation(gate, up, LLMH_ACT_SILU), x.width(), other_bias_);
  }

  llmh::Tensor layer(const llmh::Scope& at, int64_t index, llmh::Tensor x,
                     const llmh::RopeAngles& angles) const {
    x = x + attention(at.scope("attn"), index, llmh::norm(at, "ln_1", x, norm_), angles);
    return at.name("output", x + mlp(at.scope("mlp"), llmh::norm(at, "ln_2", x, norm_)));
  }

  llmh::DecoderSizes sizes_;
  llmh::NormConfig norm_;
  bool tied_;
  Bias other_bias_;
  llmh::RopeConfig rope_;
};

}  // namespace

LLMH_ARCH_PLUGIN(Qwen);
