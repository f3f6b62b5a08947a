// Numbers that multiply or cap: embeddings, scores, residual branches, logits.
#include "infer_state.h"

namespace declarative {

namespace {

void set_number(Inference& in, Draft& section, const std::string& path, const char* name,
                const std::string& expression, const std::string& source, int certainty = 90) {
  section.set(name, expression, in.choose(path + name, expression, source, certainty));
}

void infer_embedding_scale(Inference& in) {
  Draft& embedding = in.document.section("embedding");
  const std::string key = in.key({"embedding_multiplier", "scale_emb", "embedding_scale", "embed_scale"});
  const bool flagged = in.model.kind_of("scale_embedding") == LLMH_KIND_OF_BOOL;
  if (!key.empty()) set_number(in, embedding, "embedding.", "scale", "$" + key, "config: " + key);
  if (flagged)
    set_number(in, embedding, "embedding.", "scale", "$scale_embedding ? sqrt(hidden) : 1",
               "config: scale_embedding");
  if (in.hints.afmoe)
    set_number(in, embedding, "embedding.", "scale", "$mup_enabled ? sqrt(hidden) : 1", "config: mup_enabled",
               80);
  if (!in.hints.gemma) return;
  if (!key.empty() || flagged)
    Inference::refuse("config key '" + (key.empty() ? "scale_embedding" : key) + "' beside what Gemma has");
  set_number(in, embedding, "embedding.", "scale", "sqrt(hidden)",
             "gated tanh gelu beside RMS norms, as in Gemma", 55);
}

// m squared, by which YaRN's second scale multiplies the scores of latent attention.
std::string yarn_factor(const Inference& in) {
  for (const char* name : {"rope_parameters", "rope_scaling"}) {
    const std::string in_object = std::string(name) + ".";
    if (!in.has(in_object + "mscale_all_dim") || !in.has(in_object + "factor")) continue;
    return " * (0.1 * $" + in_object + "mscale_all_dim * log($" + in_object + "factor) + 1) ** 2";
  }
  return {};
}

void infer_score_scale(Inference& in) {
  Draft& attention = in.document.section("attention");
  const std::string path = "attention.";
  const std::string key = in.key({"attention_multiplier", "attn_config.softmax_scale"});
  if (!key.empty()) set_number(in, attention, path, "scale", "$" + key, "config: " + key);
  if (in.has("query_pre_attn_scalar")) {
    if (!key.empty())
      Inference::refuse("config keys 'query_pre_attn_scalar' and '" + key + "' both scale the scores");
    set_number(in, attention, path, "scale", "$query_pre_attn_scalar ** -0.5",
               "config: query_pre_attn_scalar");
  }
  if (in.hints.gpt_neo) set_number(in, attention, path, "scale", "1", "attention_types, as in GPT-Neo", 55);
  const bool weighed = in.model.kind_of("scale_attn_weights") == LLMH_KIND_OF_BOOL;
  const bool by_layer = in.model.kind_of("scale_attn_by_inverse_layer_idx") == LLMH_KIND_OF_BOOL;
  if (weighed || by_layer)
    set_number(in, attention, path, "scale",
               "(($scale_attn_weights | true) ? head_dim ** -0.5 : 1) / "
               "(($scale_attn_by_inverse_layer_idx | false) ? i + 1 : 1)",
               "config: scale_attn_weights, scale_attn_by_inverse_layer_idx");
  if (const std::string factor = in.latent ? yarn_factor(in) : ""; !factor.empty())
    set_number(in, attention, path, "scale", "($qk_nope_head_dim + $qk_rope_head_dim) ** -0.5" + factor,
               "config: mscale_all_dim", 80);
  const std::string cap = in.key({"attn_logit_softcapping", "attn_logit_softcap"});
  // Gemma 3, which has norms of q and k, keeps the key and does not read it.
  if (!cap.empty() && in.has_module(joined(in.attention_module, "q_norm")))
    Inference::refuse("config key '" + cap + "' beside norms of q: whether scores are capped cannot be told");
  if (!cap.empty()) set_number(in, attention, path, "softcap", "$" + cap, "config: " + cap);
  const std::string clip = in.key({"clip_qkv", "attn_config.clip_qkv"});
  const bool normed = in.has_module(joined(in.attention_module, "q_norm"));
  if (!clip.empty())
    set_number(in, attention, path, normed ? "clip_normed" : "clip", "$" + clip, "config: " + clip,
               normed ? 70 : 90);
  if (in.has("attention_value_scale"))
    set_number(in, attention, path, "v_scale", "$attention_value_scale", "config: attention_value_scale");
}

void infer_logit_scale(Inference& in) {
  Draft& head = in.document.section("head");
  if (in.hints.hyperclovax)
    set_number(in, head, "head.", "scale", "$logits_scaling",
               "logits_scaling beside use_post_norm, as in HyperCLOVA X", 55);
  else if (in.has("logits_scaling"))
    set_number(in, head, "head.", "scale", "1 / $logits_scaling", "config: logits_scaling, as in Granite",
               75);
  if (in.model.kind_of("logit_scale") == LLMH_KIND_OF_FLOAT ||
      in.model.kind_of("logit_scale") == LLMH_KIND_OF_INT)
    set_number(in, head, "head.", "scale", "$logit_scale", "config: logit_scale");
  if (in.has("dim_model_base"))
    set_number(in, head, "head.", "scale", "$dim_model_base / hidden",
               "config: dim_model_base, as in MiniCPM", 80);
  if (const std::string cap = in.key({"final_logit_softcapping", "final_logit_softcap", "logits_soft_cap"});
      !cap.empty())
    set_number(in, head, "head.", "softcap", "$" + cap, "config: " + cap);
}

}  // namespace

void infer_scales(Inference& in) {
  infer_embedding_scale(in);
  infer_score_scale(in);
  infer_logit_scale(in);
}

std::string infer_residual_scale(Inference& in) {
  if (in.has("residual_multiplier")) {
    in.choose("layer.scale", "$residual_multiplier", "config: residual_multiplier", 90);
    return "$residual_multiplier";
  }
  if (!in.has("scale_depth")) return {};
  in.choose("layer.scale", "$scale_depth / sqrt(layers)", "config: scale_depth, as in MiniCPM", 85);
  return "$scale_depth / sqrt(layers)";
}

}  // namespace declarative
