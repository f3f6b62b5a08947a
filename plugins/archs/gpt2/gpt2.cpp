// GPT-2 (Radford et al. 2019): learned positions, layer norms before each block, biases everywhere. Hub
// checkpoints store the matrices as [in, out], under names with or without "transformer." in front.
#include <cmath>
#include <string>

#include "llmhost/decoder.hpp"

namespace {

class Gpt2 {
 public:
  static int match(const llmh::Model& model) {
    return model.string_or("model_type", "") == "gpt2" ? LLMH_MATCH_EXACT : LLMH_MATCH_NONE;
  }

  explicit Gpt2(const llmh::Model& model)
      : bare_(!model.has_tensor("transformer.wte.weight")),
        sizes_(llmh::read_sizes(model, llmh::size_keys(model, llmh::gpt_size_keys()), 1024)) {
    sizes_.intermediate_size = llmh::intermediate_or(sizes_, 4 * sizes_.hidden_size);
    norm_ = {.centred = true,
             .eps = model.float_or(model.is_gguf() ? "layer_norm_eps" : "layer_norm_epsilon", 1e-5),
             .bias = llmh::Bias::kRequired};
    activation_ = llmh::activation_kind(model.string_or("activation_function", "gelu_new"));
    tied_ = llmh::is_tied(model, true);
    scaled_ = model.bool_or("scale_attn_weights", true);
    scaled_by_layer_ = model.bool_or("scale_attn_by_inverse_layer_idx", false);
    llmh::refuse_experts(model);
    llmh::refuse_if_true(model, {"add_cross_attention"});
    llmh::ignore_usual_keys(model);
    // The order of operations, not their values; the heads of classifiers.
    model.ignore({"reorder_and_upcast_attn", "summary_activation", "summary_first_dropout",
                  "summary_proj_to_labels", "summary_type", "summary_use_proj"});
  }

  void describe(llmh_model_info& info, llmh::States& states) const {
    llmh::fill_info(info, sizes_, tied_);
    llmh::add_states(states, sizes_);
  }

  void names(llmh::Names& names) const {
    const std::string layer = "transformer.h.{i}.";
    llmh::gguf_ends(names, "transformer.wte", "transformer.ln_f");
    names.gguf_module("transformer.wpe", "position_embd");
    names.gguf_module(layer + "ln_1", "blk.{i}.attn_norm");
    names.gguf_module(layer + "ln_2", "blk.{i}.ffn_norm");
    names.gguf_module(layer + "attn.c_attn", "blk.{i}.attn_qkv");
    names.gguf_module(layer + "attn.c_proj", "blk.{i}.attn_output");
    names.gguf_module(layer + "mlp.c_fc", "blk.{i}.ffn_up");
    names.gguf_module(layer + "mlp.c_proj", "blk.{i}.ffn_down");
    if (!names.is_gguf()) hub_names(names, bare_ ? "" : "transformer.");
  }

  void build(llmh::Graph& graph) const {
    const llmh::Scope model = graph.scope("transformer");
    llmh::Tensor x =
        model.embedding("wte", graph.input(LLMH_INPUT_TOKEN_IDS), sizes_.vocab_size, sizes_.hidden_size) +
        llmh::learned_positions(model, "wpe", sizes_.context_length, sizes_.hidden_size);
    for (int64_t i = 0; i < sizes_.n_layers; ++i) x = layer(model.scope("h", i), i, x);
    x = llmh::norm(model, "ln_f", llmh::output_rows(x), norm_);
    llmh::outputs(graph, x, llmh::lm_head(graph, x, sizes_.vocab_size, tied_, "transformer.wte.weight"));
  }

 private:
  static void hub_names(llmh::Names& names, const std::string& prefix) {
    const std::string layer = "h.{i}.";
    const auto same = [&](const std::string& module) {
      if (prefix.empty())
        for (const char* part : {".weight", ".bias"})
          names.map("transformer." + module + part, module + part);
    };
    for (const char* module : {"wte", "wpe", "ln_f"}) same(module);
    for (const char* norm : {"ln_1", "ln_2"}) same(layer + norm);
    for (const char* linear : {"attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"})
      for (const char* part : {".weight", ".bias"}) {
        const std::string name = layer + linear + part;
        names.map("transformer." + name, prefix + name, {llmh::transposed()});
      }
    for (const char* mask : {"attn.bias", "attn.masked_bias"}) names.ignore(prefix + layer + mask);
  }

  llmh::Tensor layer(const llmh::Scope& at, int64_t index, llmh::Tensor x) const {
    const float scale = scaled_ ? 1.0F / std::sqrt(static_cast<float>(sizes_.head_dim)) : 1.0F;
    const llmh::AttentionConfig attention{
        .layer = index,
        .n_heads = sizes_.n_heads,
        .n_kv_heads = sizes_.n_heads,
        .head_dim = sizes_.head_dim,
        .qkv_bias = llmh::Bias::kRequired,
        .out_bias = llmh::Bias::kRequired,
        .scale = scaled_by_layer_ ? scale / static_cast<float>(index + 1) : scale};
    const llmh::Scope attn = at.scope("attn");
    const llmh::Qkv qkv = llmh::project_fused_qkv(attn, "c_attn", llmh::norm(at, "ln_1", x, norm_),
                                                  llmh::QkvOrder::kContiguous, attention);
    x = x + attn.linear("c_proj", llmh::attend(attn, qkv, attention), x.width(), attention.out_bias);
    const llmh::Tensor h = llmh::norm(at, "ln_2", x, norm_);
    return at.name("output", x + llmh::plain_mlp(at.scope("mlp"), h, sizes_.intermediate_size, activation_,
                                                 llmh::Bias::kRequired, {"c_fc", "c_proj"}));
  }

  bool bare_;  // names without "transformer."
  llmh::DecoderSizes sizes_;
  llmh::NormConfig norm_;
  int32_t activation_;
  bool tied_, scaled_, scaled_by_layer_;
};

}  // namespace

LLMH_ARCH_PLUGIN(Gpt2);
