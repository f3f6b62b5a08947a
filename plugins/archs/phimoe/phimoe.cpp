// Phi 3.5 MoE (Abdin et al. 2024): LayerNorms and projections with biases, LongRoPE, and two experts a token,
// chosen by the sparse mixer (Liu et al. 2024). GGUF files store LongRoPE's factors as tensors.
#include <string>

#include "llmhost/decoder.hpp"

namespace {

using llmh::Bias;
using llmh::Tensor;

class PhiMoe {
 public:
  static int match(const llmh::Model& model) {
    return model.string_or("model_type", "") == "phimoe" ? LLMH_MATCH_EXACT : LLMH_MATCH_NONE;
  }

  explicit PhiMoe(const llmh::Model& model) : sizes_(llmh::read_sizes(model, {}, 131072)) {
    sizes_.intermediate_size = model.require_size("intermediate_size");
    norm_ = {.centred = true,
             .eps = model.float_or("rms_norm_eps", model.float_or("layer_norm_eps", 1e-5)),
             .bias = Bias::kRequired};
    activation_ = llmh::activation_kind(model.string_or("hidden_act", "silu"));
    tied_ = llmh::is_tied(model, false);
    attention_bias_ = llmh::bias_of(model, "attention_bias", false);
    head_bias_ = llmh::bias_of(model, "lm_head_bias", false);
    window_ = model.int_or("sliding_window", 0);
    n_experts_ = model.size_or("num_local_experts", 16);
    jitter_ = model.float_or("router_jitter_noise", 0.01);
    read_positions(model);
    llmh::refuse_unless(model, "num_experts_per_tok", 2.0);
    llmh::refuse_if_false(model, {"is_causal"});
    llmh::refuse_other_layer_types(model);
    llmh::ignore_usual_keys(model);
    model.ignore({"input_jitter_noise"});  // acts in training alone
  }

  void describe(llmh_model_info& info, llmh::States& states) const {
    llmh::fill_info(info, sizes_, tied_);
    llmh::add_states(states, sizes_, [this](int64_t) { return window_; });
  }

  void names(llmh::Names& names) const {
    const std::string layer = "model.layers.{i}.";
    llmh::gguf_ends(names);
    llmh::gguf_attention(names, layer);
    llmh::gguf_fused_qkv(names, layer, sizes_.n_heads, sizes_.n_kv_heads, sizes_.head_dim);
    llmh::expert_names(names, layer + "block_sparse_moe.", "w1", "w3", "w2");
    names.gguf_module(layer + "block_sparse_moe.gate", "blk.{i}.ffn_gate_inp");
    names.gguf_module(layer + "input_layernorm", "blk.{i}.attn_norm");
    names.gguf_module(layer + "post_attention_layernorm", "blk.{i}.ffn_norm");
    llmh::ignore_buffers(names);
    names.ignore("rope_factors_long.weight");
  }

  void build(llmh::Graph& graph) const {
    llmh::Tensor factors;
    if (stored_factors_) factors = graph.weight("rope_factors_short.weight", {rope_.angles.rotary_dim / 2});
    const llmh::RopeAngles angles = llmh::rope_angles_by_length(graph, rope_, scales_, factors);
    const llmh::Scope model = graph.scope("model");
    Tensor x = model.embedding("embed_tokens", graph.input(LLMH_INPUT_TOKEN_IDS), sizes_.vocab_size,
                               sizes_.hidden_size);
    for (int64_t i = 0; i < sizes_.n_layers; ++i) x = layer(model.scope("layers", i), i, x, angles);
    x = llmh::norm(model, "norm", llmh::output_rows(x), norm_);
    Tensor logits =
        llmh::lm_head(graph, x, sizes_.vocab_size, tied_, "model.embed_tokens.weight", head_bias_);
    llmh::outputs(graph, x, logits);
  }

 private:
  void read_positions(const llmh::Model& model) {
    stored_factors_ = llmh::has_stored_factors(model);
    const int64_t rotary_dim = llmh::read_rotary_dim(model, sizes_.head_dim);
    rope_ = stored_factors_ ? llmh::read_stored_longrope(model, rotary_dim)
                            : llmh::read_rope(model, rotary_dim, 1000000.0);
    // The length decides between two attention factors. It does not between the factors of the frequencies:
    // the reference implementation takes the short ones for every length.
    scales_ = llmh::read_length_scales(model, rope_);
    rope_.long_factors = rope_.short_factors;
  }

  // Softmax over the experts whose logits are near enough to the best eligible one; its largest value is that
  // expert's weight. `taken` [T, E] is 1 for the experts that are not eligible any more.
  Tensor mixer_weight(Tensor logits, Tensor taken) const {
    constexpr float kOut = 1e30F;  // far below every logit, and finite
    const Tensor eligible = taken.present() ? logits - llmh::scale(taken, kOut) : logits;
    const Tensor best = llmh::stretch(llmh::reduce(eligible, LLMH_REDUCE_MAX), n_experts_, -1);
    const Tensor size = llmh::larger(llmh::unary(logits, LLMH_UNARY_ABS), best);
    const Tensor excess = llmh::shift((best - logits) / size, -2.0F * jitter_);
    const Tensor is_far = llmh::clamp(llmh::scale(excess, kOut), 0.0F, 1.0F);
    return llmh::reduce(llmh::softmax(eligible - llmh::scale(is_far, kOut)), LLMH_REDUCE_MAX);
  }

  llmh::Routing route(Tensor logits) const {
    const Tensor first = mixer_weight(logits, {});
    const Tensor second = mixer_weight(logits, llmh::top_k_mask(logits, 1));
    return {llmh::top_k(logits, 2).ids, llmh::concat({first, second})};
  }

  Tensor layer(const llmh::Scope& at, int64_t index, Tensor x, const llmh::RopeAngles& angles) const {
    const llmh::AttentionConfig attention{.layer = index,
                                          .n_heads = sizes_.n_heads,
                                          .n_kv_heads = sizes_.n_kv_heads,
                                          .head_dim = sizes_.head_dim,
                                          .qkv_bias = attention_bias_,
                                          .out_bias = attention_bias_,
                                          .window = window_};
    Tensor h = llmh::norm(at, "input_layernorm", x, norm_);
    x = x + llmh::self_attention(at.scope("self_attn"), h, attention, angles);
    h = llmh::norm(at, "post_attention_layernorm", x, norm_);
    const llmh::Scope mixture = at.scope("block_sparse_moe");
    const llmh::Routing routing = route(mixture.linear("gate", h, n_experts_));
    return at.name("output", x + llmh::gated_experts(mixture.scope("experts"), h, routing, n_experts_,
                                                     sizes_.intermediate_size, activation_));
  }

  llmh::DecoderSizes sizes_;
  llmh::NormConfig norm_;
  int32_t activation_;
  int64_t window_, n_experts_;
  float jitter_;
  bool tied_, stored_factors_;
  Bias attention_bias_, head_bias_;
  llmh::RopeConfig rope_;
  llmh::LengthScales scales_;
};

}  // namespace

LLMH_ARCH_PLUGIN(PhiMoe);
