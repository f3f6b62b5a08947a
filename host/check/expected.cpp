#include "check/expected.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>

#include "core/error.h"
#include "core/json.h"
#include "model/safetensors.h"

namespace llmhost::check {
namespace {

template <typename T>
std::vector<T> values_of(const model::SafetensorsFile& file, const std::string& name, llmh_dtype dtype,
                         bool required) {
  const model::SafetensorsTensor* tensor = file.find(name);
  if (tensor == nullptr) {
    if (required) throw_invalid("{}: no tensor '{}'", file.name(), name);
    return {};
  }
  if (tensor->dtype != dtype)
    throw_invalid("{}: '{}' is {}, ids and tokens are I32, the rest F32", file.name(), name,
                  tensor->dtype_name);
  const auto bytes = tensor->data();
  std::vector<T> values(bytes.size() / sizeof(T));
  if (!bytes.empty()) std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

// "layer_output_<prompt>.<layer>"
std::map<int64_t, std::vector<float>> layers_of(const model::SafetensorsFile& file, size_t prompt) {
  std::map<int64_t, std::vector<float>> layers;
  const std::string prefix = fmt::format("layer_output_{}.", prompt);
  for (const model::SafetensorsTensor& tensor : file.tensors()) {
    if (!tensor.name.starts_with(prefix)) continue;
    int64_t layer = -1;
    const char* end = tensor.name.data() + tensor.name.size();
    const auto parsed = std::from_chars(tensor.name.data() + prefix.size(), end, layer);
    if (parsed.ec != std::errc() || parsed.ptr != end || layer < 0)
      throw_invalid("{}: '{}' names no layer", file.name(), tensor.name);
    layers[layer] = values_of<float>(file, tensor.name, LLMH_DTYPE_F32, true);
  }
  return layers;
}

void check_prompt(const model::SafetensorsFile& file, size_t n, const ExpectedPrompt& prompt) {
  if (prompt.ids.empty() || prompt.logits.empty() || prompt.logits.size() % prompt.ids.size() != 0)
    throw_invalid("{}: logits_{} are not as many rows as input_ids_{} has tokens", file.name(), n, n);
  if (!prompt.step_margin.empty() && prompt.step_margin.size() != prompt.tokens.size())
    throw_invalid("{}: step_margin_{} and tokens_{} have different lengths", file.name(), n, n);
}

void read_json(const std::filesystem::path& path, Expected& expected) {
  if (!std::filesystem::exists(path)) return;
  const Json json = read_json_file(path);
  const Json::json_pointer tolerance("/tolerance/f32/max_abs");
  if (json.contains(tolerance) && json.at(tolerance).is_number())
    expected.tolerance = json.at(tolerance).get<double>();
  for (size_t i = 0; i < expected.prompts.size(); ++i) {
    const Json::json_pointer check(fmt::format("/prompts/{}/check_tokens", i));
    if (json.contains(check) && json.at(check).is_boolean())
      expected.prompts[i].check_tokens = json.at(check).get<bool>();
  }
}

}  // namespace

double standard_deviation(const std::vector<float>& values) {
  double sum = 0;
  double squares = 0;
  for (const float value : values) {
    sum += value;
    squares += static_cast<double>(value) * value;
  }
  const auto n = static_cast<double>(std::max<size_t>(1, values.size()));
  return std::sqrt(std::max(0.0, squares / n - sum / n * (sum / n)));
}

Difference largest_difference(const std::vector<float>& actual, const std::vector<float>& expected) {
  Difference result;
  for (size_t i = 0; i < std::min(actual.size(), expected.size()); ++i) {
    const double difference = std::abs(static_cast<double>(actual[i]) - static_cast<double>(expected[i]));
    if (difference <= result.largest) continue;
    result = {difference, i};
    if (std::isnan(difference)) break;
  }
  return result;
}

Expected read_expected(const std::filesystem::path& path) {
  const auto file = model::SafetensorsFile::open(path);
  Expected expected;
  for (size_t n = 0; file.find(fmt::format("input_ids_{}", n)) != nullptr; ++n) {
    ExpectedPrompt prompt;
    prompt.ids = values_of<int32_t>(file, fmt::format("input_ids_{}", n), LLMH_DTYPE_I32, true);
    prompt.logits = values_of<float>(file, fmt::format("logits_{}", n), LLMH_DTYPE_F32, true);
    prompt.tokens = values_of<int32_t>(file, fmt::format("tokens_{}", n), LLMH_DTYPE_I32, false);
    prompt.step_margin = values_of<float>(file, fmt::format("step_margin_{}", n), LLMH_DTYPE_F32, false);
    prompt.layers = layers_of(file, n);
    check_prompt(file, n, prompt);
    expected.prompts.push_back(std::move(prompt));
  }
  if (expected.prompts.empty()) throw_invalid("{}: no tensor 'input_ids_0'", path.string());
  read_json(path.parent_path() / "expected.json", expected);
  if (expected.tolerance <= 0)
    for (const ExpectedPrompt& prompt : expected.prompts)
      expected.tolerance =
          std::max(expected.tolerance, kRelativeTolerance * standard_deviation(prompt.logits));
  return expected;
}

}  // namespace llmhost::check
