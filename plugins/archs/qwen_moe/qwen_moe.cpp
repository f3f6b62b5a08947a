// Mixtures of experts of the Qwen family (Qwen team 2024, 2025): the attention of the dense models of that
// generation (biases of q, k and v in 1.5 and 2, norms of their heads in 3), and in most layers experts in
// place of the MLP. In 1.5 and 2 an expert that all tokens share, weighted by a gate of its own, is added to
// them.
#include <algorithm>
#include <string>
#include <vector>

#include "llmhost/decoder.hpp"

namespace {

using llmh::Bias;

class QwenMoe {
 public:
  static int match(const llmh::Model& model) {
    const std::string type = model.string_or("model_type", "");
    const bool known = type == "qwen2_moe" || type == "qwen2moe" || type == "qwen3_moe" || type == "qwen3moe";
    return known ? LLMH_MATCH_EXACT : LLMH_MATCH_NONE;
  }

  explicit QwenMoe(const llmh::Model& model) : sizes_(llmh::read_sizes(model, {}, 32768)) {
    third_ = model.string_or("model_type", "").starts_with("qwen3");
    norm_.eps = model.float_or("rms_norm_eps", 1e-6);
    activation_ = llmh::activation_kind(model.string_or("hidden_act", "silu"));
    tied_ = llmh::is_tied(model, false);
    qkv_bias_ = llmh::bias_of(model, third_ ? "attention_bias" : "qkv_bias", !third_);
    out_bias_ = third_ ? qkv_bias_ : Bias::kNone;
    rope_ = llmh::read_rope(model, llmh::read_rotary_dim(model, sizes_.head_dim));
    sizes_.context_length = llmh::stretched_context(model, sizes_.context_length, rope_);
    read_experts(model);
    read_sparse_layers(model);
    refuse_other_maths(model);
  }

  void describe(llmh_model_info& info, llmh::States& states) const {
    llmh::fill_info(info, sizes_, tied_);
    llmh::add_states(states, sizes_);
  }

  void names(llmh::Names& names) const {
    const std::string layer = "model.layers.{i}.";
    llmh::gguf_ends(names);
    llmh::gguf_attention(names, layer);
    llmh::gguf_fused_qkv(names, layer, sizes_.n_heads, sizes_.n_kv_heads, sizes_.head_dim);
    llmh::gguf_gated_mlp(names, layer);
    llmh::expert_names(names, layer + "mlp.");
    names.gguf_module(layer + "mlp.gate", "blk.{i}.ffn_gate_inp");
    const std::string shared = layer + "mlp.shared_expert";
    names.gguf_module(shared + ".gate_proj", "blk.{i}.ffn_gate_shexp");
    names.gguf_module(shared + ".up_proj", "blk.{i}.ffn_up_shexp");
    names.gguf_module(shared + ".down_proj", "blk.{i}.ffn_down_shexp");
    names.gguf_module(shared + "_gate", "blk.{i}.ffn_gate_inp_shexp",
                      flat_shared_gate_ ? llmh::LayoutSteps{llmh::split(1)} : llmh::LayoutSteps{});
    names.gguf_module(layer + "input_layernorm", "blk.{i}.attn_norm");
    names.gguf_module(layer + "post_attention_layernorm", "blk.{i}.ffn_norm");
    llmh::ignore_buffers(names);
  }

  void build(llmh::Graph& graph) const {
    const llmh::RopeAngles angles = llmh::rope_angles(graph, rope_);
    llmh::build_decoder(graph, sizes_, norm_, tied_, [&](const llmh::Scope& at, int64_t i, llmh::Tensor x) {
      return layer(at, i, x, angles);
    });
  }

 private:
  void read_experts(const llmh::Model& model) {
    const bool gguf = model.is_gguf();
    // Newer configs call it num_local_experts, as GGUF files do.
    router_.n_experts = model.size_or(gguf || !model.has("num_experts") ? "num_local_experts" : "num_experts",
                                      third_ ? 128 : 60);
    router_.n_experts_per_tok = model.size_or("num_experts_per_tok", third_ ? 8 : 4);
    // GGUF files do not say it: the first generation adds the weights as they are, the other one makes their
    // sum 1.
    router_.normalise = model.bool_or("norm_topk_prob", gguf && third_);
    router_.scale = model.float_or("routed_scaling_factor", 1.0);
    // Older GGUF files leave the widths out.
    const int64_t width = gguf ? std::max<int64_t>(1, sizes_.intermediate_size / router_.n_experts_per_tok)
                               : (third_ ? 768 : 1408);
    expert_size_ = model.size_or("moe_intermediate_size", width);
    const int64_t shared = gguf && !third_ ? std::max<int64_t>(1, sizes_.intermediate_size) : 5632;
    shared_size_ = model.int_or("shared_expert_intermediate_size", third_ ? 0 : shared);
    if (shared_size_ < 0 || (third_ && shared_size_ != 0))
      llmh::refuse("'shared_expert_intermediate_size' is " + std::to_string(shared_size_));
    if (const auto shape = model.find_shape("blk.0.ffn_gate_inp_shexp.weight"); gguf && shape)
      flat_shared_gate_ = shape->size() == 1;
  }

  void read_sparse_layers(const llmh::Model& model) {
    const int64_t step = model.size_or("decoder_sparse_step", 1);
    const std::vector<float> dense = model.find_floats("mlp_only_layers").value_or(std::vector<float>{});
    for (int64_t i = 0; i < sizes_.n_layers; ++i) {
      const bool named = std::find(dense.begin(), dense.end(), static_cast<float>(i)) != dense.end();
      const bool stored = model.has_tensor("blk." + std::to_string(i) + ".ffn_gate_inp.weight");
      sparse_.push_back(model.is_gguf() ? stored : !named && (i + 1) % step == 0);
    }
    if (std::find(sparse_.begin(), sparse_.end(), false) != sparse_.end())
      sizes_.intermediate_size = model.require_size("intermediate_size");
  }

  void refuse_other_maths(const llmh::Model& model) const {
    // Releases of the reference implementation disagree on which layers would have the window.
    llmh::refuse_if_true(model, {"use_sliding_window", "use_mrope", "mlp_bias"});
    llmh::refuse_if_false(model, {"is_causal"});
    if (third_) {
      llmh::refuse_if_true(model, {"qkv_bias"});
      llmh::refuse_if_false(model, {"use_qk_norm"});
    } else {
      llmh::refuse_if_true(model, {"attention_bias", "use_qk_norm"});
    }
    llmh::refuse_other_layer_types(model);
    llmh::ignore_usual_keys(model);
    model.ignore({"sliding_window"});  // switched off
    // The same width times a whole number of experts.
    model.ignore({"n_shared_experts"});
  }

  llmh::Tensor attention(const llmh::Scope& at, int64_t index, llmh::Tensor x,
                         const llmh::RopeAngles& angles) const {
    const llmh::AttentionConfig c{.layer = index,
                                  .n_heads = sizes_.n_heads,
                                  .n_kv_heads = sizes_.n_kv_heads,
                                  .head_dim = sizes_.head_dim,
                                  .qkv_bias = qkv_bias_,
                                  .out_bias = out_bias_};
    llmh::Qkv qkv = llmh::project_qkv(at, x, c);
    if (third_) qkv = llmh::norm_qk(at, qkv, norm_, c);
    return at.linear("o_proj", llmh::attend(at, llmh::rotate_qk(qkv, angles, c), c), x.width(), c.out_bias);
  }

  llmh::Tensor mixture(const llmh::Scope& at, llmh::Tensor x) const {
    const llmh::Routing routing = llmh::route(at.linear("gate", x, router_.n_experts), router_);
    const llmh::Tensor y =
        llmh::gated_experts(at.scope("experts"), x, routing, router_.n_experts, expert_size_, activation_);
    if (shared_size_ == 0) return y;
    const llmh::Tensor shared = llmh::gated_mlp(at.scope("shared_expert"), x, shared_size_, activation_);
    return y + shared * llmh::activation(at.linear("shared_expert_gate", x, 1), LLMH_ACT_SIGMOID);
  }

  llmh::Tensor layer(const llmh::Scope& at, int64_t index, llmh::Tensor x,
                     const llmh::RopeAngles& angles) const {
    llmh::Tensor h = llmh::norm(at, "input_layernorm", x, norm_);
    x = x + attention(at.scope("self_attn"), index, h, angles);
    h = llmh::norm(at, "post_attention_layernorm", x, norm_);
    const llmh::Scope mlp = at.scope("mlp");
    if (sparse_[static_cast<size_t>(index)]) return at.name("output", x + mixture(mlp, h));
    return at.name("output", x + llmh::gated_mlp(mlp, h, sizes_.intermediate_size, activation_));
  }

  llmh::DecoderSizes sizes_;
  llmh::NormConfig norm_;
  llmh::RouterConfig router_;
  int64_t expert_size_, shared_size_;
  int32_t activation_;
  bool third_, tied_, flat_shared_gate_ = false;
  Bias qkv_bias_, out_bias_;
  llmh::RopeConfig rope_;
  std::vector<bool> sparse_;  // by layer
};

}  // namespace

LLMH_ARCH_PLUGIN(QwenMoe);
