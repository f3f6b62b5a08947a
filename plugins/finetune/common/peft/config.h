// adapter_config.json as PEFT writes it, read strictly: a field that may change the forward pass and is not
// understood refuses the adapter. The list of fields is kept beside the reader. Throws llmh::Error with the
// field, its value and what was expected.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace peft {

inline constexpr std::string_view kConfigFile = "adapter_config.json";
inline constexpr std::string_view kTensorFile = "adapter_model.safetensors";

// Modules by name: a list of whole paths and ends of paths, or one regular expression for the whole path.
struct ModuleNames {
  bool is_pattern = false;
  std::string pattern;
  std::vector<std::string> names;
};

// Whether they are the text "all-linear" in any case.
bool is_all_linear(const ModuleNames& names);

enum class TrainedBias { kNone, kAll, kLoraOnly };

// How branches start; the values are PEFT's.
enum class BranchStart {
  kZero,      // A uniform, B zero: the model starts unchanged
  kGaussian,  // A normal of deviation 1 / r, B zero
  kRandom,    // both uniform
  kOther      // of an adapter that is trained already
};

struct AdapterConfig {
  std::string source{kConfigFile};  // what errors call the text
  int64_t rank = 8;
  double alpha = 8;
  std::vector<std::pair<std::string, int64_t>>
      rank_pattern;  // in the order of the file: the first that matches counts
  std::vector<std::pair<std::string, double>> alpha_pattern;  // likewise
  bool uses_root_scale = false;                               // alpha / sqrt(r) instead of alpha / r
  bool has_magnitudes = false;
  bool has_branch_bias = false;
  TrainedBias bias = TrainedBias::kNone;
  ModuleNames targets;
  std::optional<ModuleNames> excluded;
  std::vector<int64_t> layers;              // empty: all
  std::vector<std::string> layer_patterns;  // names before the layer's index; empty: any
  std::vector<std::string> saved;           // modules that are replaced whole
  bool ties_weights = false;
  double dropout = 0;  // of what goes into branches, in training
  BranchStart start = BranchStart::kZero;
  float top_k_ratio = 0;           // of attention in training; 0: as the model has it
  std::vector<std::string> notes;  // fields that are not known and off
};

AdapterConfig parse_config(std::string_view text);

// What is checked of a config wherever it comes from: combinations that the format forbids.
void check_combinations(const AdapterConfig& config);

// A value of init_lora_weights in training; refuses those that alter the base or need data.
BranchStart parse_start(const std::string& source, const std::string& value);

// For claims(): whether the text is a config of this format, and if so of one with or without magnitudes.
enum class Kind { kOther, kPlain, kWithMagnitudes };
Kind kind_of(std::string_view text);

}  // namespace peft
