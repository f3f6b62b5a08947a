// Llama (Touvron et al. 2023; Llama 3, 2024): pre-norm decoder with grouped-query attention, rotary positions
// and a gated MLP. Hub names follow the reference implementation; GGUF files store the same modules under
// short names, with the rows of q and k ordered so that rotary pairs are neighbours.
#include <algorithm>
#include <string>

#include "llmhost/decoder.hpp"

namespace {

using llmh::Bias;

constexpr const char* kFreqFactors = "rope_freqs.weight";

class Llama {
 public:
  static int match(const llmh::Model& model) {
    return model.string_or("model_type", "") == "llama" ? LLMH_MATCH_EXACT : LLMH_MATCH_NONE;
  }

  explicit Llama(const llmh::Model& model) {
    n_layers_ = model.require_size("num_hidden_layers");
    hidden_size_ = model.require_size("hidden_size");
    intermediate_size_ = model.require_size("intermediate_size");
    vocab_size_ = model.require_size("vocab_size");
    n_heads_ = model.require_size("num_attention_heads");
    n_kv_heads_ = model.size_or("num_key_value_heads", n_heads_);
    head_dim_ = model.size_or("head_dim", std::max<int64_t>(1, hidden_size_ / n_heads_));
    if (n_heads_ % n_kv_heads_ != 0)
      throw llmh::Error(LLMH_INVALID_ARGUMENT, "config: 'num_attention_heads' " + std::to_string(n_heads_) +
                                                   " is no multiple of 'num_key_value_heads' " +
                                                   std::to_string(n_kv_heads_));
    if (model.is_gguf() && !model.has("rms_norm_eps"))
      throw llmh::Error(LLMH_INVALID_ARGUMENT, "config: 'rms_norm_eps' is missing");
    eps_ = model.float_or("rms_norm_eps", 1e-6);
    activation_ = llmh::activation_kind(model.string_or("hidden_act", "silu"));
    // A stored output layer is used even where the config ties it: the two may differ.
    tied_ = model.bool_or("tie_word_embeddings", false) && !model.has_tensor("lm_head.weight");
    // GGUF files have no bias flags: what is stored is used.
    const Bias unset = model.is_gguf() ? Bias::kIfStored : Bias::kNone;
    attention_bias_ = model.bool_or("attention_bias", false) ? Bias::kRequired : unset;
    mlp_bias_ = model.bool_or("mlp_bias", false) ? Bias::kRequired : unset;

    const int64_t rotary_dim = model.size_or("rotary_dim", head_dim_);
    if (rotary_dim != head_dim_ || head_dim_ % 2 != 0)
      throw llmh::Error(LLMH_UNIMPLEMENTED, "config: rotary dimension " + std::to_string(rotary_dim) +
                                                " with heads of " + std::to_string(head_dim_) +
                                                "; this architecture rotates whole heads of even size");
    rope_ = llmh::read_rope(model, rotary_dim);
    has_freq_factors_ = model.is_gguf() && model.has_tensor(kFreqFactors);
    context_length_ = model.size_or("max_position_embeddings", 2048);
    const bool stretched =
        rope_.angles.scaling == LLMH_ROPE_SCALING_LINEAR || rope_.angles.scaling == LLMH_ROPE_SCALING_DYNAMIC;
    if (stretched && !model.is_gguf())
      context_length_ = static_cast<int64_t>(static_cast<float>(context_length_) * rope_.angles.factor);
    refuse_other_maths(model);
  }

  void describe(llmh_model_info& info, llmh::States& states) const {
    info.n_layers = static_cast<int32_t>(n_layers_);
    info.hidden_size = hidden_size_;
    info.vocab_size = vocab_size_;
    info.context_length = context_length_;
    info.n_heads = static_cast<int32_t>(n_heads_);
    info.n_kv_heads = static_cast<int32_t>(n_kv_heads_);
    info.head_dim = static_cast<int32_t>(head_dim_);
    info.tied_embeddings = tied_ ? 1 : 0;
    for (int64_t i = 0; i < n_layers_; ++i) states.paged_kv(i, n_kv_heads_, head_dim_, head_dim_);
  }

  void names(llmh::Names& names) const {
    const std::string layer = "model.layers.{i}.";
    names.gguf_module("model.embed_tokens", "token_embd");
    names.gguf_module("model.norm", "output_norm");
    names.gguf_module("lm_head", "output");
    names.gguf_module(layer + "input_layernorm", "blk.{i}.attn_norm");
    names.gguf_module(layer + "self_attn.q_proj", "blk.{i}.attn_q", {llmh::rotary_pairs(n_heads_)});
    names.gguf_module(layer + "self_attn.k_proj", "blk.{i}.attn_k", {llmh::rotary_pairs(n_kv_heads_)});
    names.gguf_module(layer + "self_attn.v_proj", "blk.{i}.attn_v");
    names.gguf_module(layer + "self_attn.o_proj", "blk.{i}.attn_output");
    names.gguf_module(layer + "post_attention_layernorm", "blk.{i}.ffn_norm");
    names.gguf_module(layer + "mlp.gate_proj", "blk.{i}.ffn_gate");
    names.gguf_module(layer + "mlp.up_proj", "blk.{i}.ffn_up");
    names.gguf_module(layer + "mlp.down_proj", "blk.{i}.ffn_down");
    // Older checkpoints carry the rotary frequencies.
    names.ignore("model.layers.{i}.self_attn.rotary_emb.inv_freq");
    names.ignore("model.rotary_emb.inv_freq");
    names.ignore("blk.{i}.attn_rot_embd");
  }

  void build(llmh::Graph& graph) const {
    llmh::Tensor factors;
    if (has_freq_factors_) factors = graph.weight(kFreqFactors, {head_dim_ / 2});
    const llmh::RopeAngles angles = llmh::rope_angles(graph, rope_, factors);
    const llmh::Scope model = graph.scope("model");
    llmh::Tensor x =
        model.embedding("embed_tokens", graph.input(LLMH_INPUT_TOKEN_IDS), vocab_size_, hidden_size_);
    for (int64_t i = 0; i < n_layers_; ++i) x = layer(model.scope("layers", i), i, x, angles);
    x = model.rms_norm("norm", llmh::output_rows(x), eps_);
    graph.output(LLMH_OUTPUT_HIDDEN, x);
    graph.output(LLMH_OUTPUT_LOGITS,
                 llmh::lm_head(graph, x, vocab_size_, tied_, "model.embed_tokens.weight"));
  }

 private:
  // Keys of related models: fine while they leave everything as it is here.
  void refuse_other_maths(const llmh::Model& model) const {
    const auto refuse = [](const std::string& what) {
      throw llmh::Error(LLMH_UNIMPLEMENTED, "config: " + what + ", which this architecture does not compute");
    };
    for (const char* key : {"num_local_experts", "num_experts", "n_routed_experts"})
      if (const int64_t n = model.int_or(key, 0); n != 0)
        refuse("'" + std::string(key) + "' is " + std::to_string(n) + ", a mixture of experts");
    for (const char* key : {"partial_rotary_factor", "rope_scaling.partial_rotary_factor",
                            "rope_parameters.partial_rotary_factor"})
      if (model.float_or(key, 1.0) != 1.0F) refuse("'" + std::string(key) + "' is not 1");
    for (const char* key : {"rope_interleaved", "use_sliding_window", "use_parallel_residual", "use_qk_norm",
                            "qk_norm", "use_dynamic_ntk", "use_logn_attn"})
      if (model.bool_or(key, false)) refuse("'" + std::string(key) + "' is true");
    if (!model.bool_or("is_causal", true)) refuse("'is_causal' is false");
    const bool windowed = model.bool_or("use_sliding_window", true);
    if (const int64_t window = model.int_or("sliding_window", 0);
        windowed && window != 0 && window < context_length_)
      refuse("'sliding_window' is " + std::to_string(window));
    for (int64_t i = 0; model.has("layer_types") && i < n_layers_; ++i)
      if (model.string_or("layer_types." + std::to_string(i), "full_attention") != "full_attention")
        refuse("'layer_types' has other layers than full_attention");
    // What the first three say of biases, the tensors say too. pretraining_tp splits the products of
    // training, not their values; the lengths repeat the context; layer_norm_eps belongs to other norms than
    // these; tensor_data_layout names the tool that wrote the file.
    model.ignore({"bias", "qkv_bias", "use_bias", "pretraining_tp", "max_sequence_length", "max_seq_len",
                  "max_seq_length", "seq_length", "seq_len", "n_ctx", "layer_norm_eps", "max_window_layers",
                  "is_llama_config", "tensor_data_layout", "gguf.pooling_type", "num_experts_per_tok",
                  "use_rms_norm"});
  }

  llmh::Tensor layer(const llmh::Scope& at, int64_t index, llmh::Tensor x,
                     const llmh::RopeAngles& angles) const {
    const llmh::AttentionConfig attention{.layer = index,
                                          .n_heads = n_heads_,
                                          .n_kv_heads = n_kv_heads_,
                                          .head_dim = head_dim_,
                                          .qkv_bias = attention_bias_,
                                          .out_bias = attention_bias_};
    llmh::Tensor h = at.rms_norm("input_layernorm", x, eps_);
    x = x + self_attention(at.scope("self_attn"), h, attention, angles);
    h = at.rms_norm("post_attention_layernorm", x, eps_);
    return at.name("output", x + gated_mlp(at.scope("mlp"), h, intermediate_size_, activation_, mlp_bias_));
  }

  int64_t n_layers_, hidden_size_, intermediate_size_, vocab_size_, n_heads_, n_kv_heads_, head_dim_,
      context_length_;
  float eps_;
  int32_t activation_;
  bool tied_, has_freq_factors_;
  Bias attention_bias_, mlp_bias_;
  llmh::RopeConfig rope_;
};

}  // namespace

LLMH_ARCH_PLUGIN(Llama);
