// Mixtral (Jiang et al. 2024): the Llama decoder with a mixture of gated experts in place of the MLP. GGUF
// files carry the name "llama" as well and differ from that family by their number of experts; merged
// mixtures of other Llama models are stored in the same way.
#include <string>

#include "llmhost/decoder.hpp"

namespace {

using llmh::Bias;

constexpr const char* kFreqFactors = "rope_freqs.weight";

class Mixtral {
 public:
  static int match(const llmh::Model& model) {
    const std::string type = model.string_or("model_type", "");
    if (type == "mixtral") return LLMH_MATCH_EXACT;
    const bool mixture = model.is_gguf() && model.int_or("num_local_experts", 0) > 1;
    return type == "llama" && mixture ? LLMH_MATCH_EXACT : LLMH_MATCH_NONE;
  }

  explicit Mixtral(const llmh::Model& model) : sizes_(llmh::read_sizes(model, {}, 131072)) {
    sizes_.intermediate_size = model.require_size("intermediate_size");
    norm_.eps = model.float_or("rms_norm_eps", 1e-5);
    activation_ = llmh::activation_kind(model.string_or("hidden_act", "silu"));
    tied_ = llmh::is_tied(model, false);
    attention_bias_ = model.is_gguf() ? Bias::kIfStored : Bias::kNone;
    // The default base of the Hub's configs is not that of GGUF files.
    rope_ = llmh::read_rope(model, llmh::read_rotary_dim(model, sizes_.head_dim),
                            model.is_gguf() ? 10000.0 : 1000000.0);
    has_freq_factors_ = model.is_gguf() && model.has_tensor(kFreqFactors);
    sizes_.context_length = llmh::stretched_context(model, sizes_.context_length, rope_);
    window_ = model.int_or("sliding_window", 0);
    router_.n_experts = model.size_or("num_local_experts", 8);
    router_.n_experts_per_tok = model.size_or("num_experts_per_tok", 2);
    router_.normalise = true;
    if (const int64_t width = model.int_or("moe_intermediate_size", sizes_.intermediate_size);
        width != sizes_.intermediate_size)
      llmh::refuse("'moe_intermediate_size' is " + std::to_string(width));
    llmh::refuse_if_true(model, {"attention_bias", "mlp_bias"});
    llmh::refuse_if_false(model, {"is_causal", "norm_topk_prob"});
    llmh::refuse_other_layer_types(model);
    llmh::ignore_usual_keys(model);
    model.ignore({"router_jitter_noise"});  // acts in training alone
  }

  void describe(llmh_model_info& info, llmh::States& states) const {
    llmh::fill_info(info, sizes_, tied_);
    llmh::add_states(states, sizes_, [this](int64_t) { return window_; });
  }

  void names(llmh::Names& names) const {
    const std::string layer = "model.layers.{i}.";
    llmh::gguf_ends(names);
    llmh::gguf_attention(names, layer, sizes_.n_heads, sizes_.n_kv_heads);
    llmh::gguf_fused_qkv(names, layer, sizes_.n_heads, sizes_.n_kv_heads, sizes_.head_dim, true);
    llmh::expert_names(names, layer + "block_sparse_moe.", "w1", "w3", "w2");
    names.gguf_module(layer + "block_sparse_moe.gate", "blk.{i}.ffn_gate_inp");
    names.gguf_module(layer + "input_layernorm", "blk.{i}.attn_norm");
    names.gguf_module(layer + "post_attention_layernorm", "blk.{i}.ffn_norm");
    llmh::ignore_buffers(names);
  }

  void build(llmh::Graph& graph) const {
    llmh::Tensor factors;
    if (has_freq_factors_) factors = graph.weight(kFreqFactors, {rope_.angles.rotary_dim / 2});
    const llmh::RopeAngles angles = llmh::rope_angles(graph, rope_, factors);
    llmh::build_decoder(graph, sizes_, norm_, tied_, [&](const llmh::Scope& at, int64_t i, llmh::Tensor x) {
      return layer(at, i, x, angles);
    });
  }

 private:
  llmh::Tensor layer(const llmh::Scope& at, int64_t index, llmh::Tensor x,
                     const llmh::RopeAngles& angles) const {
    const llmh::AttentionConfig attention{.layer = index,
                                          .n_heads = sizes_.n_heads,
                                          .n_kv_heads = sizes_.n_kv_heads,
                                          .head_dim = sizes_.head_dim,
                                          .qkv_bias = attention_bias_,
                                          .out_bias = attention_bias_,
                                          .window = window_};
    llmh::Tensor h = llmh::norm(at, "input_layernorm", x, norm_);
    x = x + llmh::self_attention(at.scope("self_attn"), h, attention, angles);
    h = llmh::norm(at, "post_attention_layernorm", x, norm_);
    const llmh::Scope mixture = at.scope("block_sparse_moe");
    const llmh::Routing routing = llmh::route(mixture.linear("gate", h, router_.n_experts), router_);
    return at.name("output", x + llmh::gated_experts(mixture.scope("experts"), h, routing, router_.n_experts,
                                                     sizes_.intermediate_size, activation_));
  }

  llmh::DecoderSizes sizes_;
  llmh::NormConfig norm_;
  llmh::RouterConfig router_;
  int32_t activation_;
  int64_t window_;
  bool tied_, has_freq_factors_;
  Bias attention_bias_;
  llmh::RopeConfig rope_;
};

}  // namespace

LLMH_ARCH_PLUGIN(Mixtral);
