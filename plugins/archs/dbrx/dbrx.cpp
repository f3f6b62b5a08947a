// DBRX (Databricks 2024): a fused projection of q, k and v whose result is clipped, layer norms without bias,
// and a mixture of experts. Hub checkpoints store the experts one below the other, the last matrix of each
// transposed.
#include <string>

#include "llmhost/decoder.hpp"

namespace {

class Dbrx {
 public:
  static int match(const llmh::Model& model) {
    return model.string_or("model_type", "") == "dbrx" ? LLMH_MATCH_EXACT : LLMH_MATCH_NONE;
  }

  explicit Dbrx(const llmh::Model& model) : sizes_(llmh::read_sizes(model, keys_of(model))) {
    const bool gguf = model.is_gguf();
    if (!gguf && !model.has("attn_config.kv_n_heads")) sizes_.n_kv_heads = 1;
    sizes_.intermediate_size = model.size_or(gguf ? "intermediate_size" : "ffn_config.ffn_hidden_size", 3584);
    norm_ = {.centred = true, .eps = model.float_or("layer_norm_eps", 1e-5)};
    clip_ = model.float_or(gguf ? "clip_qkv" : "attn_config.clip_qkv", 0.0);
    activation_ = llmh::activation_kind(model.string_or("ffn_config.ffn_act_fn.name", "silu"));
    tied_ = llmh::is_tied(model, false);
    read_router(model);
    rope_ = llmh::read_rope(model, sizes_.head_dim);
    read_published_base(model);
    llmh::ignore_usual_keys(model);
    // Training's noise and losses; sizes that are said elsewhere.
    model.ignore({"ffn_config.moe_jitter_eps", "ffn_config.moe_loss_weight", "ffn_config.hidden_size",
                  "num_key_value_heads", "rotary_dim", "moe_intermediate_size"});
  }

  void describe(llmh_model_info& info, llmh::States& states) const {
    llmh::fill_info(info, sizes_, tied_);
    llmh::add_states(states, sizes_);
  }

  void names(llmh::Names& names) const {
    const std::string block = "transformer.blocks.{i}.";
    llmh::gguf_ends(names, "transformer.wte", "transformer.norm_f");
    names.gguf_module(block + "norm_attn_norm.norm_1", "blk.{i}.attn_norm");
    names.gguf_module(block + "norm_attn_norm.norm_2", "blk.{i}.attn_output_norm");
    names.gguf_module(block + "norm_attn_norm.attn.Wqkv", "blk.{i}.attn_qkv");
    names.gguf_module(block + "norm_attn_norm.attn.out_proj", "blk.{i}.attn_output");
    names.gguf_module(block + "ffn.router.layer", "blk.{i}.ffn_gate_inp");
    if (names.is_gguf()) {
      llmh::expert_names(names, block + "ffn.");
      return;
    }
    const std::string experts = block + "ffn.experts.";
    const llmh_layout_step split = llmh::split(router_.n_experts);
    names.map(experts + "gate_proj.weight", experts + "mlp.w1", {split});
    names.map(experts + "up_proj.weight", experts + "mlp.v1", {split});
    names.map(experts + "down_proj.weight", experts + "mlp.w2", {split, llmh::transposed()});
  }

  void build(llmh::Graph& graph) const {
    const llmh::RopeAngles angles = llmh::rope_angles(graph, rope_);
    const llmh::Scope model = graph.scope("transformer");
    llmh::Tensor x =
        model.embedding("wte", graph.input(LLMH_INPUT_TOKEN_IDS), sizes_.vocab_size, sizes_.hidden_size);
    for (int64_t i = 0; i < sizes_.n_layers; ++i) x = layer(model.scope("blocks", i), i, x, angles);
    x = llmh::norm(model, "norm_f", llmh::output_rows(x), norm_);
    llmh::outputs(graph, x, llmh::lm_head(graph, x, sizes_.vocab_size, tied_, "transformer.wte.weight"));
  }

 private:
  static llmh::SizeKeys keys_of(const llmh::Model& model) {
    if (model.is_gguf()) return {};
    return {"n_layers", "d_model", "", "n_heads", "attn_config.kv_n_heads", "max_seq_len"};
  }

  void read_router(const llmh::Model& model) {
    const bool gguf = model.is_gguf();
    router_.n_experts = model.size_or(gguf ? "num_local_experts" : "ffn_config.moe_num_experts", 4);
    router_.n_experts_per_tok = model.size_or(gguf ? "num_experts_per_tok" : "ffn_config.moe_top_k", 1);
    // The order of a norm by which the weights are divided: for positive numbers the first is their sum.
    const llmh::Model ffn = model.section("ffn_config");
    router_.normalise = !llmh::is_null(ffn, "moe_normalize_expert_weights");
    llmh::refuse_unless(ffn, "moe_normalize_expert_weights", 1.0);
  }

  // The reference implementation goes by the config's own base, which published configs do not have, and not
  // by this one.
  void read_published_base(const llmh::Model& model) const {
    const float base = model.float_or("attn_config.rope_theta", rope_.angles.theta);
    if (base != rope_.angles.theta)
      llmh::log(LLMH_LOG_WARN,
                "config: 'attn_config.rope_theta' " + std::to_string(base) +
                    " is not used, as in the reference implementation; to rotate with it write it to "
                    "'rope_theta' of the config as well");
  }

  llmh::Tensor attention(const llmh::Scope& at, int64_t index, llmh::Tensor x,
                         const llmh::RopeAngles& angles) const {
    const llmh::AttentionConfig c{.layer = index,
                                  .n_heads = sizes_.n_heads,
                                  .n_kv_heads = sizes_.n_kv_heads,
                                  .head_dim = sizes_.head_dim};
    const int64_t width = (c.n_heads + 2 * c.n_kv_heads) * c.head_dim;
    llmh::Tensor fused = at.linear("Wqkv", x, width);
    if (clip_ > 0.0F) fused = llmh::clamp(fused, -clip_, clip_);
    const llmh::Qkv qkv = llmh::split_qkv(fused, llmh::QkvOrder::kContiguous, c);
    return at.linear("out_proj", llmh::attend(at, llmh::rotate_qk(qkv, angles, c), c), x.width());
  }

  llmh::Tensor layer(const llmh::Scope& at, int64_t index, llmh::Tensor x,
                     const llmh::RopeAngles& angles) const {
    const llmh::Scope block = at.scope("norm_attn_norm");
    x = x + attention(block.scope("attn"), index, llmh::norm(block, "norm_1", x, norm_), angles);
    const llmh::Tensor h = llmh::norm(block, "norm_2", x, norm_);
    const llmh::Scope ffn = at.scope("ffn");
    const llmh::Routing routing =
        llmh::route(ffn.scope("router").linear("layer", h, router_.n_experts), router_);
    return at.name("output", x + llmh::gated_experts(ffn.scope("experts"), h, routing, router_.n_experts,
                                                     sizes_.intermediate_size, activation_));
  }

  llmh::DecoderSizes sizes_;
  llmh::NormConfig norm_;
  int32_t activation_;
  bool tied_;
  float clip_;
  llmh::RouterConfig router_;
  llmh::RopeConfig rope_;
};

}  // namespace

LLMH_ARCH_PLUGIN(Dbrx);
