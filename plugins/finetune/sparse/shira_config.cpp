#include "shira_config.h"

#include <algorithm>
#include <array>
#include <string>

#include "llmhost/plugin.hpp"
#include "peft/json.h"
#include "peft/tensors.h"

namespace sparse {
namespace {

using peft::OrderedJson;

constexpr std::array<std::string_view, 12> kInformational = {
    "peft_type",      "task_type",    "base_model_name_or_path", "revision",       "peft_version",
    "inference_mode", "auto_mapping", "runtime_config",          "fan_in_fan_out", "init_weights",
    "mask_type",      "random_seed"};

[[noreturn]] void refuse(const std::string& what) {
  throw llmh::Error(LLMH_INVALID_ARGUMENT, std::string(peft::kConfigFile) + ": " + what);
}

std::vector<std::string> names(const std::string& field, const OrderedJson& value) {
  std::vector<std::string> list;
  if (!value.is_array()) refuse(field + " is " + peft::shown(value) + ", expected a list of names");
  for (const OrderedJson& item : value) {
    if (!item.is_string() || item.get_ref<const std::string&>().empty())
      refuse(field + " has " + peft::shown(item) + ", expected a name");
    list.push_back(item.get<std::string>());
  }
  return list;
}

bool is_off(const OrderedJson& value) {
  return value.is_null() || value == false || value == 0 || value == "" ||
         (value.is_structured() && value.empty());
}

void read_field(const std::string& field, const OrderedJson& value, peft::AdapterConfig& config) {
  if (field == "r") {
    if (!value.is_number_integer() || value.get<double>() < 1 || value.get<double>() > 65536)
      refuse("r is " + peft::shown(value) + ", expected a whole number from 1 to 65536");
    config.rank = value.get<int64_t>();
  } else if (field == "target_modules") {
    config.targets.is_pattern = value.is_string();
    if (value.is_string())
      config.targets.pattern = value.get<std::string>();
    else
      config.targets.names = names(field, value);
  } else if (field == "modules_to_save") {
    if (!value.is_null()) config.saved = names(field, value);
  } else if (std::find(kInformational.begin(), kInformational.end(), field) == kInformational.end()) {
    if (!is_off(value))
      refuse(field + " is " + peft::shown(value) +
             ": the field is not known and may change what the adapter computes; remove it if it does not");
    config.notes.push_back("the unknown field " + field + " is off and ignored");
  }
}

}  // namespace

bool is_shira(std::string_view config_json) {
  try {
    const OrderedJson json = peft::parse_json(config_json, peft::kConfigFile, peft::EqualKeys::kTaken);
    const auto type = json.is_object() ? json.find("peft_type") : json.end();
    return type != json.end() && *type == "SHIRA";
  } catch (const llmh::Error&) {
    return false;
  }
}

peft::AdapterConfig parse_shira_config(std::string_view config_json) {
  const OrderedJson json = peft::parse_json(config_json, peft::kConfigFile);
  if (!json.is_object()) refuse("it is " + peft::shown(json) + ", expected an object");
  const auto type = json.find("peft_type");
  if (type == json.end() || *type != "SHIRA") refuse("peft_type is not \"SHIRA\"");
  const auto targets = json.find("target_modules");
  if (targets == json.end() || targets->is_null())
    refuse("target_modules is missing; name the modules that the adapter is for");
  peft::AdapterConfig config;
  config.rank = 32;
  config.start = peft::BranchStart::kOther;
  for (const auto& [field, value] : json.items()) read_field(field, value, config);
  return config;
}

int64_t entry_count(int64_t rank, int64_t in_features, int64_t out_features) {
  return rank * (in_features + out_features);
}

std::vector<int32_t> flat_indices(const llmh_adapter_tensor& indices, int64_t in_features,
                                  int64_t out_features) {
  const int64_t n = indices.shape[1];
  std::vector<int32_t> flat(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; ++i) {
    const float row = indices.data[i];
    const float column = indices.data[n + i];
    const auto is_index = [](float value, int64_t size) {
      return value >= 0 && value < static_cast<float>(size) &&
             value == static_cast<float>(static_cast<int64_t>(value));
    };
    if (!is_index(row, out_features) || !is_index(column, in_features))
      peft::refuse_tensor(llmh::view(indices.name),
                          "has the entry (" + std::to_string(row) + ", " + std::to_string(column) + ") at " +
                              std::to_string(i) + ", which is outside of [" + std::to_string(out_features) +
                              ", " + std::to_string(in_features) + "]");
    flat[static_cast<size_t>(i)] =
        static_cast<int32_t>(static_cast<int64_t>(row) * in_features + static_cast<int64_t>(column));
  }
  return flat;
}

}  // namespace sparse
