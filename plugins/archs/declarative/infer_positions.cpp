// How positions enter: rotations, learned tables, ALiBi.
#include <algorithm>

#include "infer_state.h"

namespace declarative {

namespace {

const std::string kParameters = "rope_parameters";

// Kinds of layers that have rope settings of their own: "rope_parameters.full_attention".
bool has_settings_by_layer(const Inference& in) {
  if (in.model.kind_of(kParameters) != LLMH_KIND_OF_OBJECT) return false;
  const std::vector<std::string> members = in.model.keys(kParameters);
  return std::any_of(members.begin(), members.end(),
                     [&](const std::string& member) { return member.ends_with("_attention"); });
}

bool is_rotary(const Inference& in) {
  // Older configs have the key for settings alone, and it may be null.
  if (in.is_written("rope_scaling") || in.is_written("rope_theta")) return true;
  return !in.key({"rope_theta", "rope_parameters", "rope_scaling", "rotary_emb_base", "rope_base",
                  "rotary_base", "rotary_dim", "rotary_pct", "rope_pct", "partial_rotary_factor",
                  "attn_config.rope_theta", "layer_rope_theta"})
              .empty();
}

// The elements of a head that are rotated, where that is not all of them.
void write_dim(Inference& in, Draft& rope, bool by_layer) {
  if (in.latent) return;
  std::string factor;
  for (const char* name : {"rope_parameters.partial_rotary_factor", "rope_scaling.partial_rotary_factor",
                           "partial_rotary_factor", "rotary_pct", "rope_pct", "rope_percent"})
    if (in.has(name)) factor += "$" + std::string(name) + " | ";
  if (by_layer) factor = "$rope_parameters[$layer_types[i]].partial_rotary_factor | " + factor;
  if (in.has("rotary_dim")) {
    rope.set("dim", factor.empty() ? "$rotary_dim" : "$rotary_dim | " + factor + "1");
    in.choose("attention.rope.dim", std::to_string(in.integer("rotary_dim")), "config: rotary_dim", 95);
  } else if (!factor.empty()) {
    rope.set("dim", "floor(head_dim * (" + factor + "1))");
    in.choose("attention.rope.dim", "a part of each head", "config", 95);
  }
}

void write_theta(Inference& in, Draft& rope) {
  const std::string key =
      in.key({"rope_theta", "rotary_emb_base", "rope_base", "rotary_base", "attn_config.rope_theta"});
  const bool inner = in.has("rope_parameters.rope_theta") || in.has("rope_scaling.rope_theta");
  if (!key.empty() && key != "rope_theta" && inner)
    Inference::refuse("config keys '" + key + "' and 'rope_theta' both tell the base of the rotations");
  const bool anywhere = inner || !key.empty() || has_settings_by_layer(in);
  rope.set("theta", key.empty() ? "10000" : "$" + key,
           anywhere ? ""
                    : in.choose("attention.rope.theta", "10000",
                                "no config key tells it; default of most families", 65));
  if (!key.empty()) in.choose("attention.rope.theta", "$" + key, "config: " + key, 95);
}

// Which two elements of a head are a pair. Few configs say so.
void write_style(Inference& in, Draft& rope) {
  const auto style = [&](bool interleaved, const std::string& source, int certainty) {
    const char* name = interleaved ? "interleaved" : "halves";
    rope.set("style", name, in.choose("attention.rope.style", name, source, certainty));
  };
  for (const char* name : {"rope_interleave", "rope_interleaved", "rotary_interleaved", "interleaved_rope"}) {
    if (in.model.kind_of(name) != LLMH_KIND_OF_BOOL) continue;
    rope.set("style", "$" + std::string(name) + " ? interleaved : halves");
    in.choose("attention.rope.style", in.flag(name, false) ? "interleaved" : "halves",
              std::string("config: ") + name, 100);
    return;
  }
  if (in.latent && in.has("scale_depth"))
    return style(false, "latent attention beside scale_depth, as in MiniCPM 3", 55);
  if (in.latent) return style(true, "default of the families with latent attention", 55);
  if (in.hints.llama4) return style(true, "attn_temperature_tuning, as in Llama 4", 55);
  const bool bare = in.has("rotary_dim") && in.key({"rope_theta", "rope_parameters", "rope_scaling"}).empty();
  if (bare) return style(true, "rotary_dim without a base, as in GPT-J", 55);
  if (in.has("logit_scale") && in.layer_norms && !has_settings_by_layer(in))
    return style(true, "logit_scale beside layer norms, as in Cohere", 55);
  const bool fused_gate =
      in.has_module("mlp.gate_up_proj") && in.has_module(joined(in.attention_module, "q_proj"));
  const bool partial = in.has("partial_rotary_factor") || in.has("rope_parameters.partial_rotary_factor");
  if (fused_gate && partial)
    return style(true, "separate q and fused gate with a part of each head rotated, as in GLM", 55);
  if (in.has("use_bias") && !in.layer_norms)
    return style(true, "use_bias beside RMS norms, as in ERNIE 4.5", 55);
  style(false, "default of most families", 55);
}

// Layers without rotations.
void write_when(Inference& in, Draft& rope, bool by_layer) {
  std::string when;
  std::string source;
  int certainty = 90;
  if (in.model.kind_of("no_rope_layers") == LLMH_KIND_OF_LIST && in.model.size_of("no_rope_layers") > 0) {
    when = "$no_rope_layers[i]";
    source = "config: no_rope_layers, where 1 stands for rotations";
    in.ignore({"no_rope_layer_interval"});  // the list follows from it
  } else if (in.has("no_rope_layer_interval")) {
    when = "(i + 1) % $no_rope_layer_interval != 0";
    source = "config: no_rope_layer_interval";
  } else if (by_layer) {
    when = "present('rope_parameters.' + $layer_types[i])";
    source = "config: rope_parameters of each kind of layer";
  } else if (!in.sliding.empty() && !in.has("rope_local_base_freq") &&
             (in.has("sliding_window_pattern") || (in.has("logit_scale") && in.layer_norms))) {
    when = in.sliding;
    source =
        "sliding_window_pattern or logit_scale: the full layers of Cohere 2 and EXAONE 4 are not rotated";
    certainty = 55;
  }
  if (in.hints.afmoe && !in.sliding.empty()) {
    when = in.sliding;
    source = "global_attn_every_n_layers beside route_scale, as in AFMoE: full layers are not rotated";
    certainty = 55;
    in.ignore({"global_attn_every_n_layers"});  // layer_types has it
  }
  if (!when.empty()) rope.set("when", when, in.choose("attention.rope.when", when, source, certainty));
}

void write_rope(Inference& in) {
  Draft& rope = in.document.section("attention").section("rope");
  const bool by_layer = has_settings_by_layer(in);
  if (by_layer && in.model.kind_of("layer_types") != LLMH_KIND_OF_LIST)
    Inference::refuse(
        "config key 'rope_parameters' has settings for kinds of layers, but 'layer_types' is missing");
  write_style(in, rope);
  write_dim(in, rope, by_layer);
  if (in.model.kind_of("layer_rope_theta") == LLMH_KIND_OF_LIST) {
    // A base for each layer, 0 for none; the settings beside it have nothing more to say when they are plain.
    if (in.word("rope_parameters.rope_type") != "default")
      Inference::refuse("config key 'layer_rope_theta' beside scaled rotations");
    rope.set("theta", "$layer_rope_theta[i] == 0 ? 10000 : $layer_rope_theta[i]");
    rope.set("when", "$layer_rope_theta[i] != 0");
    rope.set("scaled", "false");
    in.ignore({"rope_parameters", "rope_theta"});
    in.choose("attention.rope.theta", "by layer", "config: layer_rope_theta", 90);
    return;
  }
  write_theta(in, rope);
  if (by_layer) rope.set("settings", "'rope_parameters.' + $layer_types[i]");
  if (in.has("rope_local_base_freq") && !in.sliding.empty()) {
    const std::string key = in.key({"rope_theta"});
    rope.set("theta",
             "(" + in.sliding + ") ? $rope_local_base_freq : " + (key.empty() ? "10000" : "$rope_theta"));
    rope.set("scaled", "not (" + in.sliding + ")");
    in.choose("attention.rope.theta", "by layer", "config: rope_local_base_freq", 90);
  }
  write_when(in, rope, by_layer);
  if (!in.has("rope_parameters.llama_4_scaling_beta")) return;
  Draft& temperature = in.document.section("attention").section("temperature");
  temperature.set("scale", "$rope_parameters.llama_4_scaling_beta");
  temperature.set("floor", "$rope_parameters.original_max_position_embeddings");
  temperature.set(
      "first", "0",
      in.choose("attention.temperature", "from position 0", "llama_4_scaling_beta, as in Ministral 3", 60));
  in.ignore({"rope_parameters.max_position_embeddings"});  // the context's length once more
}

// A learned table among the tensors outside the layers.
bool write_learned(Inference& in) {
  for (const auto& [name, shape] : in.tensors.globals()) {
    const std::string last = last_of(module_of(name));
    const bool is_table = last == "wpe" || last == "embed_positions" || last == "position_embeddings" ||
                          last == "positions_embed" || last == "position_embedding" || last == "pos_emb" ||
                          last == "pos_embed";
    if (!is_table || shape.size() != 2 || shape[1] != in.hidden) continue;
    const int64_t offset = shape[0] - in.context;
    if (offset != 0 && offset != 2)
      Inference::refuse("tensor '" + name + "' has " + std::to_string(shape[0]) + " rows for a context of " +
                        std::to_string(in.context));
    Draft& positions = in.document.section("embedding").section("positions");
    positions.set("module", module_of(name));
    positions.set("count", "context");
    if (offset != 0)
      positions.set("offset", "2",
                    in.choose("embedding.positions.offset", "2", "rows beyond the context", 85));
    in.choose("embedding.positions", "learned", "tensor " + name, 95);
    in.tensors.claim(name);
    return true;
  }
  return false;
}

void write_sinusoidal(Inference& in) {
  Draft& positions = in.document.section("embedding").section("positions");
  positions.set(
      "kind", "sinusoidal",
      in.choose("embedding.positions", "sinusoidal", "names of fairseq and no table, as in XGLM", 55));
  positions.set("offset", "2");
  positions.set("count", "context");
}

bool write_alibi(Inference& in) {
  if (!in.flag("attn_config.alibi", false) && !in.hints.bloom) return false;
  Draft& alibi = in.document.section("attention").section("alibi");
  if (in.hints.bloom) {
    alibi.set("max_bias", "8");
    in.choose("attention.alibi", "true",
              "slow_but_exact and apply_residual_connection_post_layernorm, as in BLOOM", 55);
    return true;
  }
  // The reference takes 8, whatever the config says.
  if (in.has("attn_config.alibi_bias_max") && in.number("attn_config.alibi_bias_max") != 8)
    Inference::refuse("config key 'attn_config.alibi_bias_max' is not 8: whether it counts cannot be told");
  alibi.set("max_bias", "8");
  in.ignore({"learned_pos_emb"});  // no table is stored
  in.choose("attention.alibi", "true", "config: attn_config.alibi", 85);
  return true;
}

void check_named_kind(Inference& in) {
  const std::string kind = in.word("position_embedding_type");
  if (!kind.empty() && kind != "rope" && kind != "rotary" && kind != "absolute" && kind != "learned")
    Inference::refuse("config key 'position_embedding_type' is '" + kind + "', which is not known");
}

}  // namespace

void infer_positions(Inference& in) {
  check_named_kind(in);
  const bool rotary = is_rotary(in);
  const bool alibi = write_alibi(in);
  const bool learned = !alibi && write_learned(in);
  if (rotary && (learned || alibi))
    Inference::refuse("the config has rotary positions, and the checkpoint others as well");
  if (rotary) return write_rope(in);
  if (in.hints.fairseq && !learned && in.model.kind_of("scale_embedding") == LLMH_KIND_OF_BOOL)
    return write_sinusoidal(in);
  if (!learned && !alibi)
    Inference::refuse("nothing tells how positions enter: no config key of rotations, no table of positions");
}

}  // namespace declarative
