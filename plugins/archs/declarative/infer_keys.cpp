// Config keys that have nothing to say once the tensors are known, each group with its reason. A key that
// might mean more than that is not here: it stays unread, and the host's audit refuses the model by it.
#include <algorithm>

#include "infer_state.h"

namespace declarative {

namespace {

// Whether any linear of the layers, or the output, has a bias.
bool any_bias(const Inference& in, bool in_attention) {
  return std::any_of(in.tensors.layer().begin(), in.tensors.layer().end(), [&](const auto& each) {
    const std::string& name = each.first;
    const bool below = in.attention_module.empty() || name.starts_with(in.attention_module + ".");
    return name.ends_with(".bias") &&
           in.tensors.find(name.substr(0, name.size() - 4) + "weight") != nullptr &&
           (below == in_attention || in.attention_module.empty());
  });
}

[[noreturn]] void refuse_value(const std::string& name, const std::string& value) {
  Inference::refuse("config key '" + name + "' is " + value +
                    ", and nothing in the tensors shows what that means");
}

// The tensors show which linears have a bias; a flag that says yes where none is stored means something else.
void ignore_bias_flags(Inference& in) {
  const auto ignore = [&](const char* name, bool stored) {
    if (in.model.kind_of(name) != LLMH_KIND_OF_BOOL) return;
    if (in.flag(name, false) && !stored) refuse_value(name, "true");
    in.ignored_keys.emplace_back(name);
  };
  // Biases that every flag denies would be left out by whoever follows the config.
  const auto denied = [&](std::initializer_list<const char*> names, bool stored) {
    const char* denial = nullptr;
    for (const char* name : names) {
      if (in.model.kind_of(name) != LLMH_KIND_OF_BOOL) continue;
      if (in.flag(name, false)) return;
      denial = name;
    }
    if (stored && denial != nullptr)
      Inference::refuse("config key '" + std::string(denial) + "' is false, and biases are stored");
  };
  const bool attention = any_bias(in, true);
  const bool other = any_bias(in, false);
  for (const char* name :
       {"attention_bias", "qkv_bias", "use_qkv_bias", "add_qkv_bias", "attention_out_bias", "o_bias"})
    ignore(name, attention);
  denied({"attention_bias", "qkv_bias", "use_qkv_bias", "add_qkv_bias", "attention_out_bias", "o_bias",
          "use_bias", "bias", "enable_bias"},
         attention);
  for (const char* name : {"mlp_bias", "add_bias_linear"}) ignore(name, other);
  for (const char* name : {"use_bias", "bias", "enable_bias"}) ignore(name, attention || other);
  ignore("lm_head_bias", in.tensors.find_global("lm_head.bias") != nullptr);
  in.ignore({"no_bias"});
}

// Flags that mean nothing as long as they have this value.
void expect_flag(Inference& in, bool value, std::initializer_list<const char*> names) {
  for (const char* name : names) {
    if (in.model.kind_of(name) != LLMH_KIND_OF_BOOL) continue;
    if (in.flag(name, value) != value) refuse_value(name, value ? "false" : "true");
  }
}

// The same of numbers.
void expect_zero(Inference& in, std::initializer_list<const char*> names) {
  for (const char* name : names) {
    const int32_t kind = in.model.kind_of(name);
    if (kind != LLMH_KIND_OF_FLOAT && kind != LLMH_KIND_OF_INT) continue;
    if (in.number(name) != 0) refuse_value(name, "not 0");
  }
}

// Norms of q and k that a flag promises are there, or it says no.
void expect_norm_flags(Inference& in) {
  if (in.hints.llama4) return;
  const bool stored = std::any_of(in.choices.begin(), in.choices.end(),
                                  [](const Choice& c) { return c.what == "attention.q_norm"; });
  for (const char* name : {"use_qk_norm", "qk_layernorm", "qk_norm", "attn_config.qk_ln"}) {
    if (in.model.kind_of(name) != LLMH_KIND_OF_BOOL) continue;
    if (in.flag(name, false) != stored) refuse_value(name, stored ? "false" : "true");
  }
}

// Which layers have experts shows in the tensors; a list that knows more kinds than two does not belong here.
void ignore_mlp_types(Inference& in) {
  if (in.model.kind_of("mlp_layer_types") != LLMH_KIND_OF_LIST) return;
  for (int64_t i = 0; i < in.layers; ++i) {
    const std::string type = in.word("mlp_layer_types." + std::to_string(i));
    if (type != "dense" && type != "sparse" && type != "moe")
      Inference::refuse("config key 'mlp_layer_types' holds '" + type + "'; known are dense, sparse");
  }
}

}  // namespace

void ignore_plain_keys(Inference& in) {
  ignore_bias_flags(in);
  expect_norm_flags(in);
  ignore_mlp_types(in);
  // Sizes: the shapes of the tensors tell them.
  in.ignore({"intermediate_size",
             "n_inner",
             "ffn_dim",
             "ffn_hidden_size",
             "d_ff",
             "dff",
             "moe_intermediate_size",
             "shared_expert_intermediate_size",
             "shared_intermediate_size",
             "moe_shared_expert_intermediate_size",
             "n_shared_experts",
             "num_shared_experts",
             "moe_num_shared_experts",
             "num_shared_expert",
             "expansion_ratio",
             "word_embed_proj_dim",
             "intermediate_multiple_size",
             "num_kv_heads",
             "num_key_value_heads",
             "kv_channels",
             "vocab_size",
             "prefix_dense_intermediate_size"});
  // Which layers have experts: those that store them.
  in.ignore({"first_k_dense_replace", "decoder_sparse_step", "mlp_only_layers", "moe_layer_interval",
             "moe_layer_start_index", "moe_layer_end_index", "moe_layer_freq", "num_dense_layers"});
  // Layers that predict further tokens, which are not run.
  in.ignore({"num_nextn_predict_layers", "num_mtp_layers"});
  // How the projections are laid out: their shapes and the norms tell.
  in.ignore({"multi_query", "new_decoder_architecture", "num_ln_in_parallel_attn"});
  // Precision and speed of the implementation, not what it computes.
  in.ignore({"attention_softmax_in_fp32", "scale_attention_softmax_in_fp32", "reorder_and_upcast_attn",
             "slow_but_exact", "attn_config.attn_impl", "attn_config.attn_pdrop",
             "attn_config.attn_uses_sequence_id", "attn_config.model_type", "enable_moe_fp32_combine",
             "fused_mlp", "fused_bias_fc"});
  // Training, other heads on the same model, bookkeeping.
  in.ignore({"summary_type",
             "summary_use_proj",
             "summary_proj_to_labels",
             "summary_activation",
             "layerdrop",
             "rotary",
             "embedding_initializer_range",
             "inference_runner",
             "max_batch_size",
             "pad_key_length",
             "pre_allocate_kv_cache",
             "validate_runner_input",
             "aux_loss_coef",
             "eod_token_id",
             "init_device",
             "init_config",
             "verbose",
             "embedding_fraction",
             "learnable_sink_init",
             "moe_loss_weight",
             "seq_aux",
             "router_z_loss_coef"});
  expect_flag(in, false,
              {"alibi", "use_alibi", "use_mrope", "attn_config.prefix_lm", "use_bidirectional_attention",
               "moe_apply_router_weight_on_input"});
  if (!in.feed_forward.sparse) expect_zero(in, {"num_local_experts", "num_experts", "n_routed_experts"});
  if (!in.feed_forward.sparse) in.ignore({"num_experts_per_tok"});
  if (in.hints.hyperclovax) in.ignore({"use_post_norm"});  // the norms are stored or not
  if (!in.hints.afmoe) expect_flag(in, false, {"mup_enabled"});
  if (!in.hints.bloom) expect_flag(in, false, {"apply_residual_connection_post_layernorm"});
  // Settings of layers that no tensor belongs to.
  for (const std::string& name : in.model.keys())
    if (name.starts_with("mamba_") || name == "time_step_limit") in.ignored_keys.push_back(name);
  expect_flag(in, true, {"layer_norm_elementwise_affine", "is_causal"});
  expect_zero(
      in, {"router_jitter_noise", "input_jitter_noise", "moe_router_logit_softcapping", "zero_expert_num"});
  // Longrope and its like read the length beside their settings; without them nobody does.
  const std::string type =
      in.word(in.has("rope_scaling") ? "rope_scaling.rope_type" : "rope_parameters.rope_type");
  if (type.empty() || type == "default") in.ignore({"original_max_position_embeddings"});
  static_cast<void>(in.word("attn_config.attn_type"));
}

}  // namespace declarative
