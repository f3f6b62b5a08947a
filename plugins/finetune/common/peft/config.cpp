#include "peft/config.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "llmhost/plugin.hpp"
#include "peft/json.h"

namespace peft {
namespace {

constexpr int64_t kMaxRank = 65536;
constexpr size_t kMaxNames = 100'000;

[[noreturn]] void refuse(const std::string& what) {
  throw llmh::Error(LLMH_INVALID_ARGUMENT, std::string(kConfigFile) + ": " + what);
}

[[noreturn]] void wrong(std::string_view field, const OrderedJson& value, std::string_view expected) {
  refuse(std::string(field) + " is " + shown(value) + ", expected " + std::string(expected));
}

// null, false, 0, "" or nothing in it.
bool is_off(const OrderedJson& value) {
  if (value.is_null()) return true;
  if (value.is_boolean()) return !value.get<bool>();
  if (value.is_number()) return value.get<double>() == 0;
  if (value.is_string()) return value.get_ref<const std::string&>().empty();
  return value.empty();
}

bool read_bool(std::string_view field, const OrderedJson& value) {
  if (!value.is_null() && !value.is_boolean()) wrong(field, value, "true or false");
  return value.is_boolean() && value.get<bool>();
}

int64_t read_rank(std::string_view field, const OrderedJson& value) {
  const bool fits = value.is_number_integer() && value.get<double>() >= 1 && value.get<double>() <= kMaxRank;
  if (!fits) wrong(field, value, "a whole number from 1 to " + std::to_string(kMaxRank));
  return value.get<int64_t>();
}

double read_alpha(std::string_view field, const OrderedJson& value) {
  const bool fits = value.is_number() && std::abs(value.get<double>()) <= std::numeric_limits<float>::max();
  if (!fits) wrong(field, value, "a finite number");
  return value.get<double>();
}

std::vector<std::string> read_list(std::string_view field, const OrderedJson& value) {
  std::vector<std::string> names;
  if (!value.is_array() || value.size() > kMaxNames) wrong(field, value, "a list of names");
  for (const OrderedJson& item : value) {
    if (!item.is_string() || item.get_ref<const std::string&>().empty())
      wrong(std::string(field) + "[" + std::to_string(names.size()) + "]", item, "a name");
    names.push_back(item.get<std::string>());
  }
  return names;
}

ModuleNames read_names(std::string_view field, const OrderedJson& value) {
  ModuleNames names;
  names.is_pattern = value.is_string();
  if (!names.is_pattern && !value.is_array())
    wrong(field, value, "a list of module names or a regular expression");
  if (names.is_pattern)
    names.pattern = value.get<std::string>();
  else
    names.names = read_list(field, value);
  return names;
}

template <typename Value, typename Read>
void read_pattern(std::string_view field, const OrderedJson& value,
                  std::vector<std::pair<std::string, Value>>& out, const Read& read) {
  if (value.is_null()) return;
  if (!value.is_object() || value.size() > kMaxNames)
    wrong(field, value, "an object of patterns and numbers");
  for (const auto& [key, item] : value.items())
    out.emplace_back(key, read(std::string(field) + "['" + key + "']", item));
}

TrainedBias read_bias(const OrderedJson& value) {
  if (value == "none") return TrainedBias::kNone;
  if (value == "all") return TrainedBias::kAll;
  if (value == "lora_only") return TrainedBias::kLoraOnly;
  wrong("bias", value, "\"none\", \"all\" or \"lora_only\"");
}

void read_layers(const OrderedJson& value, std::vector<int64_t>& out) {
  const auto add = [&](const OrderedJson& item) {
    if (!item.is_number_integer() || item.get<double>() < 0 || item.get<double>() > 1e6)
      wrong("layers_to_transform", value, "a layer's number or a list of them");
    out.push_back(item.get<int64_t>());
  };
  if (value.is_null()) return;
  if (!value.is_array()) return add(value);
  for (const OrderedJson& item : value) add(item);
}

void read_layer_patterns(const OrderedJson& value, std::vector<std::string>& out) {
  if (value.is_null()) return;
  if (!value.is_string())
    out = read_list("layers_pattern", value);
  else if (!value.get_ref<const std::string&>().empty())
    out = {value.get<std::string>()};
}

constexpr std::array<std::string_view, 5> kAltersBase = {"pissa", "olora", "corda", "loftq", "lora_ga"};

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  return text;
}

bool alters_base(const std::string& name) {
  return std::any_of(kAltersBase.begin(), kAltersBase.end(),
                     [&](std::string_view start) { return std::string_view(name).starts_with(start); });
}

// How a freshly made adapter starts does not matter any more once it is trained, unless the base was altered
// with it.
void check_init(const OrderedJson& value) {
  if (value.is_null() || value.is_boolean()) return;
  constexpr std::array<std::string_view, 4> kHarmless = {"gaussian", "eva", "orthogonal", "mica"};
  constexpr std::string_view kExpected = "true, false, \"gaussian\", \"eva\", \"orthogonal\" or \"mica\"";
  if (!value.is_string()) wrong("init_lora_weights", value, kExpected);
  const std::string name = lower(value.get<std::string>());
  if (alters_base(name))
    refuse("init_lora_weights is " + shown(value) +
           ": the adapter belongs to a base whose weights were altered when it was made, with others it is "
           "wrong; "
           "convert it to a plain adapter");
  if (std::find(kHarmless.begin(), kHarmless.end(), name) == kHarmless.end())
    wrong("init_lora_weights", value, kExpected);
}

constexpr std::array<std::string_view, 17> kInformational = {
    "peft_type",    "task_type",         "base_model_name_or_path",
    "revision",     "peft_version",      "inference_mode",
    "auto_mapping", "runtime_config",    "megatron_core",
    "eva_config",   "qalora_group_size", "fan_in_fan_out",
    "corda_config", "loftq_config",      "lora_ga_config",
    "lora_dropout", "init_lora_weights"};

struct Refused {
  std::string_view field;
  std::string_view why;
};
constexpr std::array<Refused, 11> kRefused = {{
    {"use_qalora", "its layers compute another way"},
    {"alora_invocation_tokens", "it acts on some positions only"},
    {"layer_replication", "it is for a model with repeated layers"},
    {"megatron_config", "its tensors are cut for several devices"},
    {"target_parameters", "it changes bare parameters, not modules"},
    {"trainable_token_indices", "it has embedding rows of its own"},
    {"arrow_config", "it picks among adapters as it runs"},
    {"velora_config", "it is of an unsupported variant"},
    {"kasa_config", "its layers compute another way"},
    {"monteclora_config", "it is of an unsupported variant"},
    {"use_bdlora", "its tensors are of another layout"},
}};

// Fields that change nothing, that must be off, or that nobody knows.
void check_other_field(const std::string& field, const OrderedJson& value, AdapterConfig& config) {
  if (field == "init_lora_weights") check_init(value);
  // Any number is taken: what serves an adapter drops nothing.
  if (field == "lora_dropout" && value.is_number()) config.dropout = value.get<double>();
  if (std::find(kInformational.begin(), kInformational.end(), field) != kInformational.end()) return;
  for (const Refused& refused : kRefused) {
    if (field != refused.field) continue;
    if (!is_off(value))
      refuse(field + " is " + shown(value) + ": " + std::string(refused.why) + "; it must be off");
    return;
  }
  if (!is_off(value))
    refuse(field + " is " + shown(value) +
           ": the field is not known and may change what the adapter computes; remove it if it does not");
  config.notes.push_back("the unknown field " + field + " is off and ignored");
}

void read_field(const std::string& field, const OrderedJson& value, AdapterConfig& config) {
  if (field == "r")
    config.rank = read_rank(field, value);
  else if (field == "lora_alpha")
    config.alpha = read_alpha(field, value);
  else if (field == "rank_pattern")
    read_pattern(field, value, config.rank_pattern, read_rank);
  else if (field == "alpha_pattern")
    read_pattern(field, value, config.alpha_pattern, read_alpha);
  else if (field == "use_rslora")
    config.uses_root_scale = read_bool(field, value);
  else if (field == "use_dora")
    config.has_magnitudes = read_bool(field, value);
  else if (field == "lora_bias")
    config.has_branch_bias = read_bool(field, value);
  else if (field == "bias")
    config.bias = read_bias(value);
  else if (field == "target_modules")
    config.targets = read_names(field, value);
  else if (field == "exclude_modules" && !is_off(value))
    config.excluded = read_names(field, value);
  else if (field == "layers_to_transform")
    read_layers(value, config.layers);
  else if (field == "layers_pattern")
    read_layer_patterns(value, config.layer_patterns);
  else if (field == "modules_to_save" && !value.is_null())
    config.saved = read_list(field, value);
  else if (field == "ensure_weight_tying")
    config.ties_weights = read_bool(field, value);
  else if (field != "exclude_modules" && field != "modules_to_save")
    check_other_field(field, value, config);
}

}  // namespace

void check_combinations(const AdapterConfig& config) {
  const auto refuse = [&](const std::string& what) {
    throw llmh::Error(LLMH_INVALID_ARGUMENT, config.source + ": " + what);
  };
  if (config.targets.is_pattern && !config.layers.empty())
    refuse("layers_to_transform is set while target_modules is a string; write target_modules as a list");
  if (config.targets.is_pattern && !config.layer_patterns.empty())
    refuse("layers_pattern is set while target_modules is a string; write target_modules as a list");
  if (!config.layer_patterns.empty() && config.layers.empty())
    refuse("layers_pattern is set without layers_to_transform");
  if (config.has_magnitudes && config.has_branch_bias)
    refuse("use_dora and lora_bias are both true; they are not defined together");
}

BranchStart parse_start(const std::string& source, const std::string& value) {
  const auto refuse = [&](const std::string& why) {
    throw llmh::Error(LLMH_INVALID_ARGUMENT, source + ": init_lora_weights is '" + value + "': " + why);
  };
  const std::string name = lower(value);
  if (name == "true" || name == "default") return BranchStart::kZero;
  if (name == "gaussian") return BranchStart::kGaussian;
  if (name == "false") return BranchStart::kRandom;
  if (alters_base(name))
    refuse(
        "it changes the base's weights, with which alone the adapter then works; use true or gaussian, which "
        "leave them");
  if (name == "eva" || name == "orthogonal" || name == "mica")
    refuse("it is not made here; use true or gaussian");
  refuse("expected true, false or gaussian");
  return BranchStart::kZero;
}

bool is_all_linear(const ModuleNames& names) {
  return names.is_pattern && lower(names.pattern) == "all-linear";
}

AdapterConfig parse_config(std::string_view text) {
  const OrderedJson json = parse_json(text, kConfigFile);
  if (!json.is_object()) refuse("it is " + shown(json) + ", expected an object");
  const auto type = json.find("peft_type");
  if (type == json.end()) refuse("peft_type is missing, expected \"LORA\"");
  if (*type != "LORA") wrong("peft_type", *type, "\"LORA\"");
  const auto targets = json.find("target_modules");
  if (targets == json.end() || targets->is_null())
    refuse("target_modules is missing; name the modules that the adapter is for");
  AdapterConfig config;
  for (const auto& [field, value] : json.items()) read_field(field, value, config);
  config.start = BranchStart::kOther;
  check_combinations(config);
  return config;
}

Kind kind_of(std::string_view text) {
  OrderedJson json;
  try {
    json = parse_json(text, kConfigFile, EqualKeys::kTaken);  // read() refuses it with the reason
  } catch (const llmh::Error&) {
    return Kind::kOther;
  }
  const auto type = json.is_object() ? json.find("peft_type") : json.end();
  if (type == json.end() || *type != "LORA") return Kind::kOther;
  const auto magnitudes = json.find("use_dora");
  return magnitudes != json.end() && *magnitudes == true ? Kind::kWithMagnitudes : Kind::kPlain;
}

}  // namespace peft
