#include "engine/sampling_settings.h"

#include <algorithm>
#include <array>
#include <limits>
#include <optional>

#include "core/error.h"
#include "core/log.h"

namespace llmhost::engine {
namespace {

using model::GenerationConfig;

constexpr std::string_view kSection = "sampling.";

void put(SamplingParams& params, std::string_view name, double value) {
  const auto number = static_cast<float>(value);
  if (name == "temperature") params.temperature = number;
  if (name == "top_k") params.top_k = static_cast<int32_t>(std::clamp(value, -1.0, 1e9));
  if (name == "top_p") params.top_p = number;
  if (name == "min_p") params.min_p = number;
  if (name == "repetition_penalty") params.repetition_penalty = number;
  if (name == "presence_penalty") params.presence_penalty = number;
  if (name == "frequency_penalty") params.frequency_penalty = number;
}

std::optional<double> model_value(const GenerationConfig& defaults, std::string_view name) {
  if (name == "temperature" && defaults.do_sample == false) return 0.0;
  if (name == "temperature") return defaults.temperature;
  if (name == "top_p") return defaults.top_p;
  if (name == "min_p") return defaults.min_p;
  if (name == "repetition_penalty") return defaults.repetition_penalty;
  if (name == "top_k" && defaults.top_k) return static_cast<double>(*defaults.top_k);
  return std::nullopt;
}

// Whether the parameters with this one changed are in range; if not, why.
std::string refusal(std::string_view name, double value) {
  try {
    SamplingParams params;
    put(params, name, value);
    params.validate(std::numeric_limits<int64_t>::max());
  } catch (const Error& e) {
    return e.what();
  }
  return {};
}

double as_number(const ConfigValue& value) {
  if (const auto* whole = std::get_if<int64_t>(&value)) return static_cast<double>(*whole);
  return std::get<double>(value);
}

SamplingEntry resolve(const Settings& settings, const ConfigKey& key, const GenerationConfig& defaults,
                      SamplingParams& params) {
  const std::string name = key.path.substr(kSection.size());
  const Setting& setting = settings.at(key.path);
  SamplingEntry given{name, to_string(setting.value), setting.where};
  if (name == "seed") {
    const int64_t seed = std::get<int64_t>(setting.value);
    if (seed >= 0) params.seed = static_cast<uint64_t>(seed);
    return given;
  }
  const auto of_model = model_value(defaults, name);
  if (setting.source == SettingSource::kDefault && of_model) {
    const std::string why = refusal(name, *of_model);
    if (why.empty()) {
      put(params, name, *of_model);
      return {name, fmt::format("{}", *of_model), "the model"};
    }
    spdlog::warn("the model's generation defaults: {}; not used", why);
  }
  const double value = as_number(setting.value);
  const std::string why = refusal(name, value);
  if (!why.empty()) throw UsageError(fmt::format("{}: {}", setting.where, why));
  put(params, name, value);
  return given;
}

}  // namespace

Sampling resolve_sampling(const Settings& settings, const GenerationConfig& defaults) {
  Sampling sampling;
  for (const ConfigKey& key : settings.schema().keys())
    if (key.path.starts_with(kSection))
      sampling.entries.push_back(resolve(settings, key, defaults, sampling.params));
  return sampling;
}

}  // namespace llmhost::engine
