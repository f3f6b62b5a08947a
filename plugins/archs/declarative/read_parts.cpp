// The parts of a layer: attention, feed-forward, mixture of experts.
#include <cmath>
#include <utility>

#include "recipe.h"

namespace declarative {

using llmh::NormConfig;

namespace {

float real(const Section& section, const std::string& key, double fallback) {
  return static_cast<float>(section.number(key, fallback));
}

bool same_rope(const llmh::RopeConfig& a, const llmh::RopeConfig& b) {
  const auto& x = a.angles;
  const auto& y = b.angles;
  return x.rotary_dim == y.rotary_dim && x.theta == y.theta && x.scaling == y.scaling &&
         x.factor == y.factor && x.original_context == y.original_context &&
         x.attention_factor == y.attention_factor && x.low_freq_factor == y.low_freq_factor &&
         x.high_freq_factor == y.high_freq_factor && x.beta_fast == y.beta_fast &&
         x.beta_slow == y.beta_slow && x.truncate == y.truncate && a.short_factors == b.short_factors &&
         a.long_factors == b.long_factors;
}

// Settings are read from `settings`, an object of the config; without it from rope_scaling or
// rope_parameters.
llmh::RopeConfig read_rope_config(const Section& section, int64_t rotary_dim, const llmh::Model& model) {
  const double theta = section.number("theta", 10000.0);
  if (!section.flag("scaled", true)) {
    llmh::RopeConfig plain;
    plain.angles.rotary_dim = static_cast<int32_t>(rotary_dim);
    plain.angles.theta = static_cast<float>(theta);
    section.has("settings");
    return plain;
  }
  const std::string settings = section.word("settings", "");
  if (!settings.empty() && model.has(settings))
    return llmh::read_rope_section(model, settings, rotary_dim, theta);
  return llmh::read_rope(model, rotary_dim, theta);
}

int read_rope(const Section& section, AttentionSpec& a, int64_t rotated_head, const llmh::Model& model,
              std::vector<llmh::RopeConfig>& ropes) {
  a.rope_style =
      section.choice("style", {"halves", "interleaved"}, 0) == 0 ? LLMH_ROPE_HALVES : LLMH_ROPE_INTERLEAVED;
  a.rope_reversed = section.flag("reversed", false);
  const int64_t rotary_dim = section.count("dim", rotated_head);
  const bool wanted = section.flag("when", true);
  if (wanted && (rotary_dim < 2 || rotary_dim % 2 != 0 || rotary_dim > rotated_head))
    section.fail(
        "dim", std::to_string(rotary_dim) + " rotated elements in heads of " + std::to_string(rotated_head));
  int index = -1;
  if (wanted) {
    llmh::RopeConfig config = read_rope_config(section, rotary_dim, model);
    if (const float factor = real(section, "attention_factor", 0); factor != 0)
      config.angles.attention_factor = factor;
    for (size_t i = 0; i < ropes.size(); ++i)
      if (same_rope(ropes[i], config)) index = static_cast<int>(i);
    if (index < 0) {
      index = static_cast<int>(ropes.size());
      ropes.push_back(config);
    }
  } else {
    for (const char* key : {"theta", "scaled", "settings"}) section.value(key);
  }
  section.done();
  return index;
}

HeadNormSpec read_head_norm(const Section& section, const NormConfig& usual) {
  HeadNormSpec spec;
  spec.over = static_cast<HeadNormOver>(section.choice("over", {"head", "all", "each_head"}, 0));
  spec.after_rope = section.flag("after_rope", false);
  spec.norm = read_norm(section, "", usual);
  return spec;
}

void read_latent(const Section& section, const NormConfig& usual, AttentionSpec& a) {
  if (!section.has("kv_rank")) return section.done();
  llmh::LatentAttentionConfig latent;
  latent.q_lora_rank = section.count("q_rank", 0);
  latent.kv_lora_rank = section.require_count("kv_rank");
  latent.qk_nope_head_dim = section.count("nope", 0);
  latent.qk_rope_head_dim = section.require_count("rope");
  latent.norm = usual;
  latent.norm.eps = real(section, "eps", static_cast<double>(usual.eps));
  latent.bias = a.config.qkv_bias;
  latent.split_kv = section.flag("split", false);
  a.latent_q_scale = real(section, "q_scale", 1);
  a.latent_kv_scale = real(section, "kv_scale", 1);
  a.config.head_dim = latent.qk_nope_head_dim + latent.qk_rope_head_dim;
  a.config.v_head_dim = section.require_count("v");
  a.config.n_kv_heads = a.config.n_heads;
  section.done();
  a.latent = latent;
}

void read_projections(const Section& section, AttentionSpec& a) {
  a.q = section.text("q", "q_proj");
  a.k = section.text("k", "k_proj");
  a.v = section.text("v", "v_proj");
  a.out = section.text("out", "o_proj");
  const Section fused = section.section_or_scalar("fused", "module");
  a.fused = fused.text("module", "");
  const size_t order = fused.choice("order", {"contiguous", "grouped"}, 0);
  a.order = order == 0 ? llmh::QkvOrder::kContiguous : llmh::QkvOrder::kGrouped;
  fused.done();
}

// One number for each position of the context: a table of 64 MiB at most.
void read_temperature(const Section& temperature, const Recipe& recipe, AttentionSpec& a) {
  constexpr int64_t kMaxPositions = int64_t{1} << 24;
  a.temperature_scale = real(temperature, "scale", 0);
  a.temperature_floor = real(temperature, "floor", 1);
  a.temperature_first = real(temperature, "first", 1);
  if (a.temperature_scale != 0.0F && !(a.temperature_floor > 0.0F))
    temperature.fail("floor", "must be more than 0");
  if (a.temperature_scale != 0.0F && recipe.sizes.context_length > kMaxPositions)
    temperature.fail("scale", "a context of more than 2^24 positions, each with a temperature");
  temperature.done();
}

void read_extras(const Section& section, const Recipe& recipe, AttentionSpec& a) {
  a.clip = real(section, "clip", 0);
  a.clip_normed = real(section, "clip_normed", 0);
  a.q_scale = real(section, "q_scale", 1);
  a.k_scale = real(section, "k_scale", 1);
  a.v_scale = real(section, "v_scale", 1);
  if (!section.has("sinks_when") || section.flag("sinks_when", true))
    a.sinks = section.text("sinks", "");
  else
    section.text("sinks", "");
  const Section alibi = section.section("alibi");
  if (section.has("alibi") && alibi.flag("when", true))
    a.alibi = llmh::alibi_slopes(a.config.n_heads, real(alibi, "max_bias", 8));
  else
    alibi.has("max_bias");
  alibi.done();
  const Section gate = section.section_or_scalar("gate", "module");
  a.gate = gate.text("module", "");
  a.gate_per_head = gate.flag("per_head", false);
  a.gate_softplus = gate.choice("activation", {"sigmoid", "softplus"}, 0) == 1;
  if (!gate.flag("when", true)) a.gate.clear();
  gate.done();
  read_temperature(section.section("temperature"), recipe, a);
}

}  // namespace

AttentionSpec read_attention(const Section& section, const Recipe& recipe, int64_t layer,
                             const NormConfig& usual, std::vector<llmh::RopeConfig>& ropes) {
  const llmh::Model& model = section.context().model;
  AttentionSpec a;
  llmh::AttentionConfig& c = a.config;
  c.layer = layer;
  c.n_heads = section.has("heads") ? section.require_count("heads") : recipe.sizes.n_heads;
  c.n_kv_heads = section.has("kv_heads") ? section.require_count("kv_heads") : recipe.sizes.n_kv_heads;
  c.head_dim = section.has("head_dim") ? section.require_count("head_dim") : recipe.sizes.head_dim;
  c.v_head_dim = section.count("v_head_dim", c.head_dim);
  if (c.n_heads % c.n_kv_heads != 0)
    section.fail("kv_heads",
                 std::to_string(c.n_heads) + " heads are no multiple of " + std::to_string(c.n_kv_heads));
  c.qkv_bias = section.has("bias") ? read_bias(section, "bias", model) : Bias::kIfStored;
  c.out_bias = section.has("out_bias") ? read_bias(section, "out_bias", model) : Bias::kIfStored;
  c.scale = real(section, "scale", 0);
  c.softcap = real(section, "softcap", 0);
  c.window = section.count("window", 0);
  c.chunk = section.count("chunk", 0);
  read_projections(section, a);
  read_latent(section.section("latent"), usual, a);
  a.q_norm = read_head_norm(section.section_or_scalar("q_norm", "module"), usual);
  a.k_norm = read_head_norm(section.section_or_scalar("k_norm", "module"), usual);
  a.v_norm = read_head_norm(section.section_or_scalar("v_norm", "module"), usual);
  a.out_norm = read_norm(section.section_or_scalar("out_norm", "module"), "", usual);
  const int64_t rotated_head = a.latent ? a.latent->qk_rope_head_dim : c.head_dim;
  if (section.has("rope")) a.rope = read_rope(section.section("rope"), a, rotated_head, model, ropes);
  if (a.latent) a.latent->rope_style = a.rope_style;
  read_extras(section, recipe, a);
  return a;
}

MlpSpec read_mlp(const Section& section, const Recipe& recipe, const NormConfig& usual) {
  const llmh::Model& model = section.context().model;
  MlpSpec m;
  m.kind = static_cast<MlpKind>(section.choice("kind", {"gated", "plain", "fused"}, 0));
  m.gate = section.text("gate", "gate_proj");
  m.up = section.text("up", m.kind == MlpKind::kFused ? "gate_up_proj" : "up_proj");
  m.down = section.text("down", "down_proj");
  m.width = section.has("width") ? section.require_count("width") : 4 * recipe.sizes.hidden_size;
  const std::string activation = section.word("activation", "silu");
  m.xielu = activation == "xielu";
  if (!m.xielu) m.activation = llmh::activation_kind(activation);
  m.bias = section.has("bias") ? read_bias(section, "bias", model) : Bias::kIfStored;
  m.down_bias = section.has("down_bias") ? read_bias(section, "down_bias", model) : m.bias;
  m.inner_norm = read_norm(section.section_or_scalar("inner_norm", "module"), "", usual);
  m.gate_scale = real(section, "gate_scale", 1);
  m.out_scale = real(section, "out_scale", 1);
  return m;
}

namespace {

llmh::RouterConfig read_routing(const Section& section) {
  llmh::RouterConfig r;
  r.n_experts = section.require_count("experts");
  r.n_experts_per_tok = section.require_count("per_token");
  if (r.n_experts_per_tok > r.n_experts) section.fail("per_token", "more than there are experts");
  r.score =
      static_cast<llmh::RouterScore>(section.choice("score", {"softmax", "top_k_softmax", "sigmoid"}, 0));
  r.rank_logits = section.flag("rank_logits", false);
  r.normalise = section.flag("normalise", false);
  r.normalise_eps = real(section, "normalise_eps", 0);
  r.scale = real(section, "scale", 1);
  r.n_groups = std::max<int64_t>(1, section.count("groups", 1));
  r.n_top_groups = section.count("top_groups", 1);
  r.group_best = std::max<int64_t>(1, section.count("group_best", 1));
  if (r.n_groups == 1) r.n_top_groups = 1;
  if (r.n_experts % r.n_groups != 0 || r.n_top_groups < 1 || r.n_top_groups > r.n_groups ||
      r.group_best > r.n_experts / r.n_groups)
    section.fail("groups", "the experts cannot be divided like that");
  return r;
}

}  // namespace

MoeSpec read_moe(const Section& section, const Recipe& recipe, const NormConfig& usual) {
  const llmh::Model& model = section.context().model;
  MoeSpec m;
  m.router = section.text("router", "gate");
  m.router_bias = section.has("router_bias") ? read_bias(section, "router_bias", model) : Bias::kNone;
  if (!section.has("correction_when") || section.flag("correction_when", true))
    m.correction = section.text("correction", "");
  else
    section.text("correction", "");
  m.correction_row = section.flag("correction_row", false);
  m.routing = read_routing(section.section("routing"));
  section.section("routing");
  m.router_softcap = real(section, "router_softcap", 0);
  m.out_scale = real(section, "out_scale", 1);
  m.weigh_input = section.flag("weigh_input", false);
  m.experts = section.text("module_experts", "experts");
  m.kind = static_cast<MlpKind>(section.choice("kind", {"gated", "plain", "fused"}, 0));
  m.stacked = section.flag("stacked", false);
  m.transposed = section.flag("transposed", false);
  m.interleaved = section.flag("interleaved", false);
  m.gate = section.text("gate", "gate_proj");
  m.up = section.text("up", m.kind == MlpKind::kFused ? "gate_up_proj" : "up_proj");
  m.down = section.text("down", "down_proj");
  m.width = section.require_count("width");
  m.activation = llmh::activation_kind(section.word("activation", "silu"));
  m.bias = section.has("bias") ? read_bias(section, "bias", model) : Bias::kNone;
  m.clamp = real(section, "clamp", 0);
  m.gate_alpha = real(section, "gate_alpha", 0);
  m.up_shift = real(section, "up_shift", 0);
  const Section shared = section.section("shared");
  if (section.has("shared") && shared.flag("when", true)) {
    m.shared_module = shared.text("module", "shared_expert");
    m.shared_gate = shared.text("gate_module", "");
    m.shared = read_mlp(shared, recipe, usual);
    shared.done();
  }
  return m;
}

}  // namespace declarative
