// Spellings that belong to one family alone, and tell of maths that shows nowhere else. What follows from
// them is marked as a guess.
#include <algorithm>

#include "infer_state.h"

namespace declarative {

namespace {

bool has_layer_norms(const Inference& in) {
  return std::any_of(in.tensors.layer().begin(), in.tensors.layer().end(), [&](const auto& each) {
    return each.second.shape() == Shape{in.hidden} && each.first.ends_with(".weight");
  });
}

}  // namespace

void infer_hints(Inference& in) {
  const std::string activation = in.key({"hidden_activation", "hidden_act"});
  const std::string name = activation.empty() ? "" : in.word(activation);
  const bool gated = in.has_module("mlp.gate_proj");
  const bool biased = in.tensors.find("input_layernorm.bias") != nullptr;
  const bool tanh_gelu = name == "gelu_pytorch_tanh" || name == "gelu_tanh";
  const bool rms_gated = gated && !biased && in.has("rms_norm_eps");
  in.hints.gemma = rms_gated && (tanh_gelu || in.is_written("hidden_activation"));
  if (rms_gated && name == "gelu" && !in.hints.gemma)
    Inference::refuse(
        "gated gelu beside RMS norms: whether it is Gemma's, which differs in more than that, cannot be "
        "told");
  in.hints.nemotron = name == "relu2" && !gated && biased && in.has("norm_eps");
  in.hints.fairseq = in.has_module("self_attn_layer_norm");
  in.hints.bloom = in.has("apply_residual_connection_post_layernorm") && in.has("slow_but_exact");
  in.hints.llama4 = in.has("attn_temperature_tuning") && in.has("floor_scale") && in.has("use_qk_norm");
  in.hints.afmoe = in.has("global_attn_every_n_layers") && in.has("route_scale") && in.has("mup_enabled");
  in.hints.hyperclovax = in.has("use_post_norm") && in.has("logits_scaling");
  in.hints.gpt_neo = in.has("attention_types") && in.has("window_size");
  in.hints.olmo = !has_layer_norms(in) && in.is_written("clip_qkv") && !in.has("rms_norm_eps");
  // Positions that are off: the key is there and null.
  if (in.is_written("position_embedding_type") && !in.has("position_embedding_type"))
    Inference::refuse("config key 'position_embedding_type' is null: whether positions enter cannot be told");
}

void infer_llama4(Inference& in) {
  if (!in.hints.llama4) return;
  Draft& attention = in.document.section("attention");
  const std::string rotated = "$no_rope_layers[i]";
  if (in.model.kind_of("no_rope_layers") != LLMH_KIND_OF_LIST)
    Inference::refuse("config key 'no_rope_layers' is missing beside 'attn_temperature_tuning'");
  if (!in.feed_forward.sparse) Inference::refuse("config key 'attn_temperature_tuning' without experts");
  for (const char* role : {"q_norm", "k_norm"}) {
    Draft& norm = attention.section(role);
    norm.set("module", "qk_norm");
    norm.set("weight", "false");
    norm.set("after_rope", "true");
    norm.set("when", "$use_qk_norm and " + rotated);
  }
  Draft& temperature = attention.section("temperature");
  temperature.set("scale", "$attn_temperature_tuning and not " + rotated + " ? $attn_scale | 0.1 : 0");
  temperature.set("floor", "$floor_scale");
  Draft& moe = in.document.section("moe");
  moe.set("weigh_input", "true");
  moe.section("routing").set("score", "sigmoid");
  moe.section("routing").set("normalise", "false");
  in.ignore({"interleave_moe_layer_step", "intermediate_size_mlp", "moe_layers"});  // the tensors tell
  in.choose("attention.family", "Llama 4",
            "attn_temperature_tuning: norms without weights, longer queries, experts whose input is weighed",
            55);
}

}  // namespace declarative
