#include "model/quantised.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <functional>
#include <optional>
#include <utility>

#include "core/error.h"
#include "core/json.h"
#include "model/checkpoint_text.h"
#include "model/quantised_parts.h"

namespace llmhost::model {
namespace {

namespace fs = std::filesystem;

struct Method {
  std::string_view name;
  void (*read)(PartTable& parts, QuantisationConfig& config);
};
constexpr std::array<Method, 7> kMethods = {{{"gptq", read_gptq},
                                             {"awq", read_awq},
                                             {"bitsandbytes", read_bitsandbytes},
                                             {"fp8", read_fp8},
                                             {"fbgemm_fp8", read_fp8},
                                             {"compressed-tensors", read_compressed_tensors},
                                             {"mxfp4", read_mxfp4}}};

// Config and key of a quantisation, and the method when the place implies it.
struct Found {
  Json object;
  std::string source;
  std::string key;
  std::string_view method;
};

bool has_tensor_like(const std::vector<CheckpointTensor>& tensors, std::string_view part) {
  return std::any_of(tensors.begin(), tensors.end(), [&](const CheckpointTensor& tensor) {
    return tensor.name.find(part) != std::string_view::npos;
  });
}

std::optional<Found> find_in_config(const Json& config, const std::string& file) {
  const auto text_config = config.find("text_config");
  const bool has_text = text_config != config.end() && text_config->is_object();
  for (const char* key : {"quantization_config", "compression_config"}) {
    if (const auto it = config.find(key); it != config.end() && !it->is_null())
      return Found{*it, fmt::format("{}: {}", file, key), key, ""};
    if (!has_text) continue;
    if (const auto it = text_config->find(key); it != text_config->end() && !it->is_null())
      return Found{*it, fmt::format("{}: text_config.{}", file, key), fmt::format("text_config.{}", key), ""};
  }
  return std::nullopt;
}

// Tools of before quantization_config wrote a file of their own beside config.json.
std::optional<Found> find_beside(const std::vector<CheckpointTensor>& tensors, const fs::path& folder) {
  if (has_tensor_like(tensors, ".quant_state.bitsandbytes__"))
    return Found{Json::object(), folder.string(), "quantization_config", "bitsandbytes"};
  if (!has_tensor_like(tensors, ".qweight")) return std::nullopt;
  const std::array<std::pair<const char*, std::string_view>, 2> files = {
      {{"quantize_config.json", "gptq"}, {"quant_config.json", "awq"}}};
  std::error_code ignored;
  for (const auto& [name, method] : files)
    if (const fs::path path = folder / name; fs::exists(path, ignored))
      return Found{read_model_config(path), path.string(), "quantization_config", method};
  return std::nullopt;
}

}  // namespace

QuantisedWeights read_quantised(std::vector<CheckpointTensor> tensors, const Json& config,
                                const std::string& config_file, const fs::path& folder) {
  std::optional<Found> found = find_in_config(config, config_file);
  if (!found) found = find_beside(tensors, folder);
  if (!found) return {std::move(tensors), {}, "", {}};
  QuantisationConfig settings(std::move(found->object), found->source);
  const std::string method = settings.text("quant_method", found->method);
  const auto known = std::find_if(kMethods.begin(), kMethods.end(),
                                  [&](const Method& candidate) { return candidate.name == method; });
  if (known == kMethods.end()) {
    std::vector<std::string_view> names;
    names.reserve(std::size(kMethods));
    for (const Method& candidate : kMethods) names.push_back(candidate.name);
    settings.refuse("quant_method",
                    fmt::format("of the methods only {} are supported", fmt::join(names, ", ")));
  }
  PartTable parts(std::move(tensors));
  known->read(parts, settings);
  PartTable::Result result = std::move(parts).finish();
  return {std::move(result.tensors), std::move(result.names), std::move(found->key), settings.unread()};
}

}  // namespace llmhost::model
