#include "model/gguf_config.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <string_view>

#include "core/error.h"
#include "model/checkpoint_text.h"
#include "model/gguf.h"

namespace llmhost::model {
namespace {

constexpr size_t kMaxArrayElements = size_t{1} << 16;  // a config holds per-layer values, not data

struct KeyName {
  std::string_view gguf;
  const char* hub;
};

// Under "{arch}.". Where the Hub has several names for one thing, the commonest.
constexpr KeyName kModelKeys[] = {
    {"context_length", "max_position_embeddings"},
    {"embedding_length", "hidden_size"},
    {"block_count", "num_hidden_layers"},
    {"feed_forward_length", "intermediate_size"},
    {"vocab_size", "vocab_size"},
    {"use_parallel_residual", "use_parallel_residual"},
    {"tensor_data_layout", "tensor_data_layout"},
    {"logit_scale", "logit_scale"},
    {"embedding_scale", "embedding_multiplier"},
    {"residual_scale", "residual_multiplier"},
    {"attn_logit_softcapping", "attn_logit_softcapping"},
    {"final_logit_softcapping", "final_logit_softcapping"},
    {"attention.head_count", "num_attention_heads"},
    {"attention.head_count_kv", "num_key_value_heads"},
    {"attention.key_length", "head_dim"},
    {"attention.value_length", "v_head_dim"},
    {"attention.layer_norm_rms_epsilon", "rms_norm_eps"},
    {"attention.layer_norm_epsilon", "layer_norm_eps"},
    {"attention.sliding_window", "sliding_window"},
    {"attention.causal", "is_causal"},
    {"attention.scale", "attention_multiplier"},
    {"attention.clamp_kqv", "clip_qkv"},
    {"attention.max_alibi_bias", "alibi_bias_max"},
    {"attention.q_lora_rank", "q_lora_rank"},
    {"attention.kv_lora_rank", "kv_lora_rank"},
    {"rope.freq_base", "rope_theta"},
    {"rope.freq_base_swa", "rope_local_base_freq"},
    {"rope.dimension_count", "rotary_dim"},
    {"expert_count", "num_local_experts"},
    {"expert_used_count", "num_experts_per_tok"},
    {"expert_feed_forward_length", "moe_intermediate_size"},
    {"expert_shared_feed_forward_length", "shared_expert_intermediate_size"},
    {"expert_shared_count", "n_shared_experts"},
    {"expert_group_count", "n_group"},
    {"expert_group_used_count", "topk_group"},
    {"expert_weights_scale", "routed_scaling_factor"},
    {"expert_weights_norm", "norm_topk_prob"},
    {"leading_dense_block_count", "first_k_dense_replace"},
};

// Under "{arch}.rope.scaling.", members of rope_scaling.
constexpr KeyName kRopeScalingKeys[] = {
    {"type", "rope_type"},
    {"factor", "factor"},
    {"original_context_length", "original_max_position_embeddings"},
    {"attn_factor", "attention_factor"},
    {"finetuned", "finetuned"},
    {"yarn_ext_factor", "extrapolation_factor"},
    {"yarn_attn_factor", "yarn_attn_factor"},
    {"yarn_beta_fast", "beta_fast"},
    {"yarn_beta_slow", "beta_slow"},
    {"yarn_log_multiplier", "yarn_log_multiplier"},
};

constexpr KeyName kTokenKeys[] = {
    {"tokenizer.ggml.bos_token_id", "bos_token_id"},
    {"tokenizer.ggml.eos_token_id", "eos_token_id"},
    {"tokenizer.ggml.padding_token_id", "pad_token_id"},
};

// Names under "{arch}." that switch a feature on: 0 leaves it off.
constexpr std::array<std::string_view, 15> kOffWhenZero = {
    "expert_count",
    "expert_used_count",
    "expert_shared_count",
    "expert_group_count",
    "expert_group_used_count",
    "expert_weights_scale",
    "logit_scale",
    "embedding_scale",
    "residual_scale",
    "attention.scale",
    "attention.sliding_window",
    "attention.clamp_kqv",
    "attention.max_alibi_bias",
    "attn_logit_softcapping",
    "final_logit_softcapping",
};

template <size_t kCount>
const char* hub_name(const KeyName (&table)[kCount], std::string_view gguf_name) {
  const auto* found = std::find_if(std::begin(table), std::end(table),
                                   [&](const KeyName& name) { return name.gguf == gguf_name; });
  return found == std::end(table) ? nullptr : found->hub;
}

double shortest_double(float value) {
  if (!std::isfinite(value)) return static_cast<double>(value);
  std::array<char, 32> text{};
  const auto printed = std::to_chars(text.data(), text.data() + text.size(), value);
  double result = 0;
  std::from_chars(text.data(), printed.ptr, result);
  return result;
}

// One value for each layer, all equal, reads like the one value.
Json same_for_all_layers(Json value) {
  if (!value.is_array() || value.empty() || !value.front().is_primitive()) return value;
  const bool same =
      std::all_of(value.begin(), value.end(), [&](const Json& v) { return v == value.front(); });
  return same ? Json(value.front()) : value;
}

// 0.1 m ln(s) + 1 (Peng et al. 2023, eq. 22).
double yarn_mscale(double factor, double m) {
  return factor <= 1 ? 1.0 : 0.1 * m * std::log(factor) + 1.0;
}

class ConfigBuilder {
 public:
  explicit ConfigBuilder(const GgufFile& file) : file_(file) {}
  GgufConfig build();

 private:
  [[noreturn]] void fail(std::string_view key, std::string_view what) const {
    throw_invalid("{}: metadata '{}' {}", file_.name(), printable(key), what);
  }
  Json number(GgufType type, double wide, const auto& integer) const;
  Json to_json(const GgufValue& value) const;
  Json to_json(const GgufArray& array, std::string_view key) const;
  Json string(std::string_view text, std::string_view key) const;

  void set(const std::string& hub_key, const GgufValue& value);
  void add_model_key(const GgufValue& value, std::string_view name);
  double scaling_number(const char* member, double fallback) const;
  void finish_attention_factor(std::string_view type, double factor);
  void finish_rope_scaling();
  void finish_value_length();
  void finish_vocabulary();

  const GgufFile& file_;
  GgufConfig result_{Json::object(), {}};
  Json rope_scaling_ = Json::object();
};

Json ConfigBuilder::number(GgufType type, double wide, const auto& integer) const {
  if (type == GgufType::kF32) return shortest_double(static_cast<float>(wide));
  if (type == GgufType::kF64) return wide;
  return integer();
}

Json ConfigBuilder::string(std::string_view text, std::string_view key) const {
  if (!is_valid_utf8(text)) fail(key, "is not valid UTF-8");
  return std::string(text);
}

Json ConfigBuilder::to_json(const GgufValue& value) const {
  switch (value.type()) {
    case GgufType::kString:
      return string(value.as_string(), value.key());
    case GgufType::kBool:
      return value.as_bool();
    case GgufType::kArray:
      return to_json(value.as_array(), value.key());
    default:
      break;
  }
  return number(value.type(), value.as_f64(), [&]() -> Json {
    if (value.type() == GgufType::kU64) return value.as_u64();
    return value.as_i64();
  });
}

Json ConfigBuilder::to_json(const GgufArray& array, std::string_view key) const {
  if (array.size() > kMaxArrayElements)
    fail(key, "has more elements than a model's configuration may have (65536)");
  Json result = Json::array();
  const GgufType type = array.element_type();
  if (type == GgufType::kString) {
    for (const std::string_view text : array.strings()) result.push_back(string(text, key));
    return result;
  }
  if (type == GgufType::kArray) {
    for (const GgufArray& inner : array.arrays()) result.push_back(to_json(inner, key));
    return result;
  }
  for (size_t i = 0; i < array.size(); ++i) {
    if (type == GgufType::kBool) {
      result.push_back(array.bool_at(i));
      continue;
    }
    result.push_back(number(type, array.f64_at(i), [&]() -> Json {
      if (type == GgufType::kU64) return array.u64_at(i);
      return array.i64_at(i);
    }));
  }
  return result;
}

void ConfigBuilder::set(const std::string& hub_key, const GgufValue& value) {
  result_.config[hub_key] = to_json(value);
  result_.sources[hub_key] = value.key();
}

void ConfigBuilder::add_model_key(const GgufValue& value, std::string_view name) {
  constexpr std::string_view kRopeScaling = "rope.scaling.";
  if (name.starts_with(kRopeScaling)) {
    const char* member = hub_name(kRopeScalingKeys, name.substr(kRopeScaling.size()));
    if (member != nullptr) {
      rope_scaling_[member] = to_json(value);
      result_.sources[std::string("rope_scaling.") + member] = value.key();
      return;
    }
  }
  // The older spelling of a linear rope_scaling.
  if (name == "rope.scale_linear") {
    rope_scaling_["factor"] = to_json(value);
    result_.sources["rope_scaling.factor"] = value.key();
    return;
  }
  const bool may_be_off = std::find(kOffWhenZero.begin(), kOffWhenZero.end(), name) != kOffWhenZero.end();
  const char* hub_key = hub_name(kModelKeys, name);
  if (hub_key != nullptr) {
    Json converted = same_for_all_layers(to_json(value));
    if (may_be_off && converted.is_number() && converted == 0) return;
    result_.config[hub_key] = std::move(converted);
    result_.sources[hub_key] = value.key();
    return;
  }
  if (!is_valid_utf8(name)) fail(value.key(), "has a key that is not valid UTF-8");
  set("gguf." + std::string(name), value);
}

double ConfigBuilder::scaling_number(const char* member, double fallback) const {
  const auto found = rope_scaling_.find(member);
  return found == rope_scaling_.end() || !found->is_number() ? fallback : found->get<double>();
}

// A file's attn_factor multiplies what yarn has by itself; in a config attention_factor replaces it. Members
// with their neutral value go, and those of yarn where there is no yarn; what is left over is for the audit.
void ConfigBuilder::finish_attention_factor(std::string_view type, double factor) {
  const bool yarn = type == "yarn";
  const double written = scaling_number("attention_factor", 1.0);
  const double log_multiplier = scaling_number("yarn_log_multiplier", 0.0);
  const double extrapolation = scaling_number("extrapolation_factor", -1.0);
  if (extrapolation < 0 || extrapolation == (yarn ? 1.0 : 0.0)) rope_scaling_.erase("extrapolation_factor");
  if (log_multiplier == 0) rope_scaling_.erase("yarn_log_multiplier");
  if (!yarn) {
    rope_scaling_.erase("beta_fast");
    rope_scaling_.erase("beta_slow");
  }
  if (yarn && (written != 1.0 || log_multiplier != 0)) {
    const double by_itself =
        yarn_mscale(factor, 1.0) / (log_multiplier == 0 ? 1.0 : yarn_mscale(factor, log_multiplier));
    rope_scaling_["attention_factor"] = written * by_itself;
  } else if (written == 1.0) {
    rope_scaling_.erase("attention_factor");
  }
}

void ConfigBuilder::finish_rope_scaling() {
  rope_scaling_.erase("finetuned");  // says how the model was made
  if (rope_scaling_.empty()) return;
  // Factors per dimension are stored as tensors, and then often without a type.
  if (!rope_scaling_.contains("rope_type") && file_.find_tensor("rope_factors_long.weight") != nullptr)
    rope_scaling_["rope_type"] = "longrope";
  // A factor without a type has always meant linear scaling.
  if (!rope_scaling_.contains("rope_type") && rope_scaling_.contains("factor"))
    rope_scaling_["rope_type"] = "linear";
  const auto found = rope_scaling_.find("rope_type");
  const std::string type = found != rope_scaling_.end() && found->is_string() ? *found : Json("");
  const bool stretches = type == "linear" || type == "yarn";
  // Without a factor, or with 0, nothing is stretched.
  if (stretches && (!rope_scaling_.contains("factor") || rope_scaling_["factor"] == 0))
    rope_scaling_["factor"] = 1.0;
  finish_attention_factor(type, scaling_number("factor", 1.0));
  result_.config["rope_scaling"] = type == "none" ? Json(nullptr) : rope_scaling_;
}

void ConfigBuilder::finish_value_length() {
  const auto key_length = result_.config.find("head_dim");
  const auto value_length = result_.config.find("v_head_dim");
  if (key_length == result_.config.end() || value_length == result_.config.end()) return;
  if (*key_length == *value_length) result_.config.erase("v_head_dim");
}

void ConfigBuilder::finish_vocabulary() {
  const GgufValue* tokens = file_.find("tokenizer.ggml.tokens");
  if (!result_.config.contains("vocab_size") && tokens != nullptr) {
    result_.config["vocab_size"] = tokens->as_array().size();
    result_.sources["vocab_size"] = tokens->key();
  }
  for (const KeyName& name : kTokenKeys)
    if (const GgufValue* value = file_.find(name.gguf)) set(name.hub, *value);
}

GgufConfig ConfigBuilder::build() {
  const std::string_view type = file_.try_string("general.type").value_or("model");
  if (type != "model")
    throw_invalid("{}: general.type is '{}'; a file of type 'model' is needed", file_.name(),
                  printable(type));
  const GgufValue& architecture = file_.at("general.architecture");
  if (architecture.as_string().empty()) fail(architecture.key(), "is empty");
  set("model_type", architecture);
  const std::string prefix = std::string(architecture.as_string()) + '.';
  for (const GgufValue& value : file_.metadata()) {
    const std::string_view key = value.key();
    // The computation is described under the architecture's name alone; tools that made the file add keys
    // of their own.
    if (key.starts_with(prefix)) add_model_key(value, key.substr(prefix.size()));
  }
  finish_rope_scaling();
  finish_value_length();
  finish_vocabulary();
  result_.config["tie_word_embeddings"] = file_.find_tensor("output.weight") == nullptr;
  return std::move(result_);
}

}  // namespace

GgufConfig gguf_to_config(const GgufFile& file) {
  return ConfigBuilder(file).build();
}

}  // namespace llmhost::model
