// Phi 3, 3.5, 4 and 4 mini (Abdin et al. 2024): the Llama decoder with fused projections, in some checkpoints
// with LongRoPE, a sliding window, or heads of which a part is rotated. GGUF files store LongRoPE's factors
// as tensors.
#include <string>

#include "llmhost/decoder.hpp"

namespace {

class Phi3 {
 public:
  static int match(const llmh::Model& model) {
    return model.string_or("model_type", "") == "phi3" ? LLMH_MATCH_EXACT : LLMH_MATCH_NONE;
  }

  explicit Phi3(const llmh::Model& model) : sizes_(llmh::read_sizes(model, {}, 4096)) {
    sizes_.intermediate_size = model.require_size("intermediate_size");
    norm_.eps = model.float_or("rms_norm_eps", 1e-5);
    activation_ = llmh::activation_kind(model.string_or("hidden_act", "silu"));
    tied_ = llmh::is_tied(model, false);
    window_ = model.int_or("sliding_window", 0);
    const int64_t rotary_dim = llmh::read_rotary_dim(model, sizes_.head_dim);
    stored_factors_ = llmh::has_stored_factors(model);
    rope_ =
        stored_factors_ ? llmh::read_stored_longrope(model, rotary_dim) : llmh::read_rope(model, rotary_dim);
    llmh::refuse_experts(model);
    llmh::refuse_if_true(model, {"attention_bias", "mlp_bias", "lm_head_bias", "use_qk_norm"});
    llmh::refuse_if_false(model, {"is_causal"});
    llmh::refuse_unless(model, "full_attn_mod", 1.0);
    llmh::refuse_unless(model, "interpolate_factor", 1.0);
    llmh::refuse_other_layer_types(model, window_ != 0 ? "sliding_attention" : "full_attention");
    llmh::ignore_usual_keys(model);
  }

  void describe(llmh_model_info& info, llmh::States& states) const {
    llmh::fill_info(info, sizes_, tied_);
    llmh::add_states(states, sizes_, [this](int64_t) { return window_; });
  }

  void names(llmh::Names& names) const {
    const std::string layer = "model.layers.{i}.";
    llmh::gguf_ends(names);
    names.gguf_module(layer + "self_attn.qkv_proj", "blk.{i}.attn_qkv");
    names.gguf_module(layer + "self_attn.o_proj", "blk.{i}.attn_output");
    names.gguf_module(layer + "mlp.gate_up_proj", "blk.{i}.ffn_up");
    names.gguf_module(layer + "mlp.down_proj", "blk.{i}.ffn_down");
    names.gguf_module(layer + "input_layernorm", "blk.{i}.attn_norm");
    names.gguf_module(layer + "post_attention_layernorm", "blk.{i}.ffn_norm");
    llmh::ignore_buffers(names);
  }

  void build(llmh::Graph& graph) const {
    const llmh::RopeAngles angles =
        stored_factors_ ? llmh::stored_longrope_angles(graph, rope_) : llmh::rope_angles(graph, rope_);
    llmh::build_decoder(graph, sizes_, norm_, tied_, [&](const llmh::Scope& at, int64_t i, llmh::Tensor x) {
      return layer(at, i, x, angles);
    });
  }

 private:
  llmh::Tensor attention(const llmh::Scope& at, int64_t index, llmh::Tensor x,
                         const llmh::RopeAngles& angles) const {
    const llmh::AttentionConfig c{.layer = index,
                                  .n_heads = sizes_.n_heads,
                                  .n_kv_heads = sizes_.n_kv_heads,
                                  .head_dim = sizes_.head_dim,
                                  .window = window_};
    const llmh::Qkv qkv = llmh::project_fused_qkv(at, "qkv_proj", x, llmh::QkvOrder::kContiguous, c);
    return at.linear("o_proj", llmh::attend(at, llmh::rotate_qk(qkv, angles, c), c), x.width());
  }

  llmh::Tensor layer(const llmh::Scope& at, int64_t index, llmh::Tensor x,
                     const llmh::RopeAngles& angles) const {
    llmh::Tensor h = llmh::norm(at, "input_layernorm", x, norm_);
    x = x + attention(at.scope("self_attn"), index, h, angles);
    h = llmh::norm(at, "post_attention_layernorm", x, norm_);
    return at.name("output",
                   x + llmh::fused_gated_mlp(at.scope("mlp"), h, sizes_.intermediate_size, activation_));
  }

  llmh::DecoderSizes sizes_;
  llmh::NormConfig norm_;
  int32_t activation_;
  int64_t window_;
  bool tied_, stored_factors_;
  llmh::RopeConfig rope_;
};

}  // namespace

LLMH_ARCH_PLUGIN(Phi3);
