// Llama (Touvron et al. 2023; Llama 3, 2024): pre-norm decoder with grouped-query attention, rotary positions
// and a gated MLP. Hub names follow the reference implementation; GGUF files store the same modules under
// short names, with the rows of q and k ordered so that rotary pairs are neighbours.
#include <string>

#include "llmhost/decoder.hpp"

namespace {

using llmh::Bias;

constexpr const char* kFreqFactors = "rope_freqs.weight";

class Llama {
 public:
  static int match(const llmh::Model& model) {
    if (model.string_or("model_type", "") != "llama") return LLMH_MATCH_NONE;
    // GGUF files of mixtures of experts carry this name as well.
    return model.int_or("num_local_experts", 0) > 1 ? LLMH_MATCH_NONE : LLMH_MATCH_EXACT;
  }

  explicit Llama(const llmh::Model& model) : sizes_(llmh::read_sizes(model)) {
    sizes_.intermediate_size = model.require_size("intermediate_size");
    if (model.is_gguf() && !model.has("rms_norm_eps"))
      throw llmh::Error(LLMH_INVALID_ARGUMENT, "config: 'rms_norm_eps' is missing");
    norm_.eps = model.float_or("rms_norm_eps", 1e-6);
    activation_ = llmh::activation_kind(model.string_or("hidden_act", "silu"));
    tied_ = llmh::is_tied(model, false);
    attention_bias_ = llmh::bias_of(model, "attention_bias", false);
    mlp_bias_ = llmh::bias_of(model, "mlp_bias", false);
    read_positions(model);
    refuse_other_maths(model);
  }

  void describe(llmh_model_info& info, llmh::States& states) const {
    llmh::fill_info(info, sizes_, tied_);
    llmh::add_states(states, sizes_);
  }

  void names(llmh::Names& names) const {
    const std::string layer = "model.layers.{i}.";
    llmh::gguf_ends(names);
    llmh::gguf_attention(names, layer, sizes_.n_heads, sizes_.n_kv_heads);
    llmh::gguf_fused_qkv(names, layer, sizes_.n_heads, sizes_.n_kv_heads, sizes_.head_dim, true);
    llmh::gguf_gated_mlp(names, layer);
    names.gguf_module(layer + "input_layernorm", "blk.{i}.attn_norm");
    names.gguf_module(layer + "post_attention_layernorm", "blk.{i}.ffn_norm");
    llmh::ignore_buffers(names);
  }

  void build(llmh::Graph& graph) const {
    llmh::Tensor factors;
    if (has_freq_factors_) factors = graph.weight(kFreqFactors, {sizes_.head_dim / 2});
    const llmh::RopeAngles angles = llmh::rope_angles(graph, rope_, factors);
    llmh::build_decoder(graph, sizes_, norm_, tied_, [&](const llmh::Scope& at, int64_t i, llmh::Tensor x) {
      return layer(at, i, x, angles);
    });
  }

 private:
  void read_positions(const llmh::Model& model) {
    const int64_t rotary_dim = model.size_or("rotary_dim", sizes_.head_dim);
    if (rotary_dim != sizes_.head_dim || rotary_dim % 2 != 0)
      throw llmh::Error(LLMH_UNIMPLEMENTED, "config: rotary dimension " + std::to_string(rotary_dim) +
                                                " with heads of " + std::to_string(sizes_.head_dim) +
                                                "; this architecture rotates whole heads of even size");
    rope_ = llmh::read_rope(model, rotary_dim);
    has_freq_factors_ = model.is_gguf() && model.has_tensor(kFreqFactors);
    const bool stretched =
        rope_.angles.scaling == LLMH_ROPE_SCALING_LINEAR || rope_.angles.scaling == LLMH_ROPE_SCALING_DYNAMIC;
    if (stretched && !model.is_gguf())
      sizes_.context_length =
          static_cast<int64_t>(static_cast<float>(sizes_.context_length) * rope_.angles.factor);
  }

  void refuse_other_maths(const llmh::Model& model) const {
    llmh::refuse_experts(model);
    for (const char* key : {"partial_rotary_factor", "rope_scaling.partial_rotary_factor",
                            "rope_parameters.partial_rotary_factor"})
      llmh::refuse_unless(model, key, 1.0);
    llmh::refuse_if_true(model, {"rope_interleaved", "use_sliding_window", "use_parallel_residual",
                                 "use_qk_norm", "qk_norm", "use_dynamic_ntk", "use_logn_attn"});
    llmh::refuse_if_false(model, {"is_causal"});
    const bool windowed = model.bool_or("use_sliding_window", true);
    if (const int64_t window = model.int_or("sliding_window", 0);
        windowed && window != 0 && window < sizes_.context_length)
      llmh::refuse("'sliding_window' is " + std::to_string(window));
    llmh::refuse_other_layer_types(model);
    llmh::ignore_usual_keys(model);
    // What the first three say of biases, the tensors say too; layer_norm_eps belongs to other norms than
    // these.
    model.ignore({"bias", "qkv_bias", "use_bias", "layer_norm_eps", "is_llama_config", "num_experts_per_tok",
                  "use_rms_norm"});
  }

  llmh::Tensor layer(const llmh::Scope& at, int64_t index, llmh::Tensor x,
                     const llmh::RopeAngles& angles) const {
    const llmh::AttentionConfig attention{.layer = index,
                                          .n_heads = sizes_.n_heads,
                                          .n_kv_heads = sizes_.n_kv_heads,
                                          .head_dim = sizes_.head_dim,
                                          .qkv_bias = attention_bias_,
                                          .out_bias = attention_bias_};
    llmh::Tensor h = llmh::norm(at, "input_layernorm", x, norm_);
    x = x + llmh::self_attention(at.scope("self_attn"), h, attention, angles);
    h = llmh::norm(at, "post_attention_layernorm", x, norm_);
    return at.name("output",
                   x + llmh::gated_mlp(at.scope("mlp"), h, sizes_.intermediate_size, activation_, mlp_bias_));
  }

  llmh::DecoderSizes sizes_;
  llmh::NormConfig norm_;
  int32_t activation_;
  bool tied_, has_freq_factors_;
  Bias attention_bias_, mlp_bias_;
  llmh::RopeConfig rope_;
};

}  // namespace

LLMH_ARCH_PLUGIN(Llama);
