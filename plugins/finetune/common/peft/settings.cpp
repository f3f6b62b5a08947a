#include "peft/settings.h"

#include <charconv>
#include <cmath>

namespace peft {
namespace {

constexpr int64_t kMaxRank = 65536;
constexpr int64_t kMaxLayer = 1'000'000;

[[noreturn]] void refuse(const std::string& what) {
  throw llmh::Error(LLMH_INVALID_ARGUMENT, std::string(kSettings) + ": " + what);
}

ModuleNames read_names(const llmh::Settings& settings, std::string_view key) {
  ModuleNames names;
  names.names = settings.get_list(key);
  names.is_pattern = !settings.is_list(key);
  if (!names.is_pattern) return names;
  names.pattern = names.names.empty() ? std::string() : names.names.front();
  names.names.clear();
  return names;
}

bool is_empty(const ModuleNames& names) {
  return names.is_pattern ? names.pattern.empty() : names.names.empty();
}

// A list whose only item is "all-linear" means the same as the text.
void unwrap(ModuleNames& names) {
  if (names.is_pattern || names.names.size() != 1) return;
  ModuleNames text{true, names.names.front(), {}};
  if (is_all_linear(text)) names = text;
}

TrainedBias read_bias(const std::string& value) {
  if (value == "all") return TrainedBias::kAll;
  return value == "lora_only" ? TrainedBias::kLoraOnly : TrainedBias::kNone;
}

llmh_dtype compute_dtype(std::string text) {
  if (text.starts_with("torch.")) text.erase(0, 6);
  if (text == "auto") return LLMH_DTYPE_INVALID;
  if (text == "float32" || text == "f32") return LLMH_DTYPE_F32;
  if (text == "bfloat16" || text == "bf16") return LLMH_DTYPE_BF16;
  if (text == "float16" || text == "f16") return LLMH_DTYPE_F16;
  refuse("bnb_4bit_compute_dtype is '" + text + "', expected auto, float32, bfloat16 or float16");
}

}  // namespace

int64_t whole_number(const std::string& where, const std::string& text, int64_t minimum, int64_t maximum) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < minimum || value > maximum)
    refuse(where + " is '" + text + "', expected a whole number from " + std::to_string(minimum) + " to " +
           std::to_string(maximum));
  return value;
}

double number(const std::string& where, const std::string& text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(value))
    refuse(where + " is '" + text + "', expected a number");
  return value;
}

void declare_targets(llmh::Schema& schema) {
  schema.add_string_or_list("target_modules", "all-linear",
                            "modules to adapt: a list of paths or ends of paths, a regular expression for "
                            "whole paths, or all-linear (all but "
                            "the head)");
  schema.add_string_or_list("exclude_modules", "[]",
                            "modules to leave alone among them: a list or a regular expression, likewise");
  schema.add_string_or_list(
      "layers_to_transform", "[]",
      "numbers of the layers to adapt, from 0; empty: all (target_modules must be a list)");
  schema.add_string_or_list(
      "layers_pattern", "[]",
      "component of the path that stands before a layer's number; empty: found by itself");
  schema.add_list(
      "modules_to_save", "[]",
      "ends of paths of modules that are trained and saved whole ('norm' is 'input_layernorm', too)");
  schema.add_string("task_type", "CAUSAL_LM", "what the adapter is for; written to its config", "CAUSAL_LM");
  schema.add_bool("fan_in_fan_out", "false", "has no meaning here: the base says how its weights are stored");
}

void read_targets(const llmh::Settings& settings, AdapterConfig& config) {
  config.source = kSettings;
  config.targets = read_names(settings, "target_modules");
  unwrap(config.targets);
  if (is_empty(config.targets)) refuse("target_modules is empty; name at least one module");
  ModuleNames excluded = read_names(settings, "exclude_modules");
  if (!is_empty(excluded)) config.excluded = std::move(excluded);
  for (const std::string& layer : settings.get_list("layers_to_transform"))
    if (!layer.empty()) config.layers.push_back(whole_number("layers_to_transform", layer, 0, kMaxLayer));
  for (const std::string& name : settings.get_list("layers_pattern"))
    if (!name.empty()) config.layer_patterns.push_back(name);
  config.saved = settings.get_list("modules_to_save");
  for (const std::string& name : config.saved)
    if (name.empty()) refuse("modules_to_save has an empty name, which every path ends in");
  check_combinations(config);
}

void declare_branches(llmh::Schema& schema) {
  schema.add_int("r", "8", "rank of the branches", 1, kMaxRank, "lora_rank|rank");
  schema.add_float("lora_alpha", "8", "the branch is multiplied by lora_alpha / r", -1e9, 1e9, "alpha");
  schema.add_float("lora_dropout", "0", "part of a branch's inputs that is dropped in training", 0, 0.999,
                   "dropout_rate|dropout");
  schema.add_bool("use_rslora", "false", "multiply by lora_alpha / sqrt(r) instead");
  schema.add_map(
      "rank_pattern", "{}",
      "other ranks, by a regular expression for the end of the path; the first that matches counts");
  schema.add_map("alpha_pattern", "{}", "other values of lora_alpha, likewise");
  schema.add_string(
      "bias", "none",
      "biases of the base that are trained: none, all of the model, or those of adapted modules",
      "none|all|lora_only");
  schema.add_string(
      "init_lora_weights", "true",
      "how branches start: true (A uniform, B zero), gaussian (A normal, B zero), false (both uniform)");
  declare_targets(schema);
  declare_attention(schema);
}

AdapterConfig read_branches(const llmh::Settings& settings) {
  AdapterConfig config;
  config.source = kSettings;
  config.rank = settings.get_int("r");
  config.alpha = settings.get_float("lora_alpha");
  config.dropout = settings.get_float("lora_dropout");
  config.uses_root_scale = settings.get_bool("use_rslora");
  for (const auto& [key, value] : settings.get_map("rank_pattern"))
    config.rank_pattern.emplace_back(key, whole_number("rank_pattern: " + key, value, 1, kMaxRank));
  for (const auto& [key, value] : settings.get_map("alpha_pattern"))
    config.alpha_pattern.emplace_back(key, number("alpha_pattern: " + key, value));
  config.bias = read_bias(settings.get_string("bias"));
  config.start = parse_start(kSettings, settings.get_string("init_lora_weights"));
  config.top_k_ratio = read_attention(settings);
  read_targets(settings, config);
  return config;
}

void declare_attention(llmh::Schema& schema) {
  schema.add_bool("use_topk_attention", "false",
                  "each query sees only its keys of largest score; in training, no file says so");
  schema.add_float("topk_ratio", "0.5", "part of the visible keys that a query then sees", 0.0001, 1);
}

float read_attention(const llmh::Settings& settings) {
  if (settings.get_bool("use_topk_attention")) return static_cast<float>(settings.get_float("topk_ratio"));
  if (settings.is_given("topk_ratio")) refuse("topk_ratio is given while use_topk_attention is false");
  return 0;
}

void declare_four_bits(llmh::Schema& schema, bool is_on_by_default) {
  schema.add_bool(
      "load_in_4bit", is_on_by_default ? "true" : "false",
      "hold the linears of the blocks in 4 bits; those that are stored in few bits stay as they are");
  schema.add_string("bnb_4bit_quant_type", "nf4", "the 16 values of 4 bits", "nf4|fp4");
  schema.add_bool("bnb_4bit_use_double_quant", "false", "hold the scales of the blocks in 8 bits");
  schema.add_string(
      "bnb_4bit_compute_dtype", "auto",
      "what products with the base round their inputs to: auto (as the job), float32, bfloat16, float16");
}

llmh_base_request read_four_bits(const llmh::Settings& settings) {
  llmh_base_request request{};
  request.struct_size = sizeof request;
  if (!settings.get_bool("load_in_4bit")) {
    for (const char* const key :
         {"bnb_4bit_quant_type", "bnb_4bit_use_double_quant", "bnb_4bit_compute_dtype"})
      if (settings.is_given(key)) refuse(std::string(key) + " is given while load_in_4bit is false");
    return request;
  }
  request.linear_dtype =
      settings.get_string("bnb_4bit_quant_type") == "fp4" ? LLMH_DTYPE_FP4 : LLMH_DTYPE_NF4;
  request.double_quant = settings.get_bool("bnb_4bit_use_double_quant") ? 1 : 0;
  request.compute_dtype = compute_dtype(settings.get_string("bnb_4bit_compute_dtype"));
  return request;
}

}  // namespace peft
