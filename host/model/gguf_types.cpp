#include "model/gguf_types.h"

#include <fmt/ranges.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <cctype>
#include <charconv>

#include "core/error.h"
#include "core/registry_files.h"
#include "model/tensor_encode.h"

namespace llmhost::model {
namespace {

const YAML::Node& table() {
  static const YAML::Node kTable = [] {
    for (const RegistryFile& file : registry_files())
      if (file.subject == "gguf" && file.name == "types") return YAML::Load(std::string(file.text));
    throw_error(ErrorCode::kInternal, "registry/gguf/types.yaml is not part of this build");
  }();
  return kTable;
}

llmh_dtype dtype_of(const std::string& name) {
  for (llmh_dtype dtype = LLMH_DTYPE_INVALID + 1; dtype < LLMH_DTYPE_COUNT_; ++dtype)
    if (name == llmh_dtype_layout_of(dtype).name) return dtype;
  throw_error(ErrorCode::kInternal, "registry/gguf/types.yaml: '{}' is no element type", name);
}

// "blk.3.ffn_down.weight": layer 3, "ffn_down".
struct TensorName {
  int64_t layer = -1;
  std::string_view part;
};

TensorName split_name(std::string_view name) {
  TensorName split;
  if (name.starts_with("blk.")) {
    name.remove_prefix(4);
    const size_t dot = std::min(name.find('.'), name.size());
    std::from_chars(name.data(), name.data() + dot, split.layer);
    name.remove_prefix(std::min(name.size(), dot + 1));
  }
  split.part = name.substr(0, name.rfind('.'));
  return split;
}

bool is_among(std::string_view layers, int64_t layer, int64_t n_layers) {
  if (layers == "all") return true;
  if (layers == "first_two") return layer < 2;
  if (layers == "first_eighth") return layer < n_layers / 8;
  return layer < n_layers / 8 || layer >= 7 * n_layers / 8 || (layer - n_layers / 8) % 3 == 2;  // spread
}

// The type itself, or what is taken where rows are no whole blocks of it.
llmh_dtype fitting(llmh_dtype dtype, const std::vector<int64_t>& shape) {
  if (fits_rows(dtype, shape)) return dtype;
  const YAML::Node other = table()["fallback"][llmh_dtype_layout_of(dtype).name];
  const llmh_dtype fallback = other ? dtype_of(other.as<std::string>()) : LLMH_DTYPE_F16;
  return fits_rows(fallback, shape) ? fallback : LLMH_DTYPE_F16;
}

}  // namespace

GgufTypes::GgufTypes(const std::string& name) : name_(name) {
  std::transform(name_.begin(), name_.end(), name_.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  if (const YAML::Node alias = table()["aliases"][name_]) name_ = alias.as<std::string>();
  const YAML::Node entry = table()["types"][name_];
  if (!entry)
    throw UsageError(fmt::format("there is no type '{}'; there are {}", name, fmt::join(names(), ", ")));
  type_ = dtype_of(entry["type"].as<std::string>());
  file_type_ = entry["file_type"].as<uint32_t>();
  if (entry["output"]) output_ = dtype_of(entry["output"].as<std::string>());
  for (const YAML::Node& rule : entry["rules"])
    rules_.push_back({rule["tensors"].as<std::vector<std::string>>(), rule["layers"].as<std::string>("all"),
                      dtype_of(rule["type"].as<std::string>())});
}

GgufTypes GgufTypes::of(llmh_dtype dtype) {
  return GgufTypes(llmh_dtype_layout_of(dtype).name);
}

std::vector<std::string> GgufTypes::names() {
  std::vector<std::string> names;
  for (const auto& entry : table()["types"]) names.push_back(entry.first.as<std::string>());
  for (const auto& entry : table()["aliases"]) names.push_back(entry.first.as<std::string>());
  return names;
}

bool GgufTypes::is_quantised() const {
  return llmh_dtype_layout_of(type_).block_elements > 1;
}

llmh_dtype GgufTypes::type_of(std::string_view tensor, const std::vector<int64_t>& shape, int64_t n_layers,
                              bool is_head) const {
  const TensorName name = split_name(tensor);
  const auto kept = table()["keep_f32"].as<std::vector<std::string>>();
  const bool is_kept = std::find(kept.begin(), kept.end(), name.part) != kept.end();
  if (shape.size() < 2 || is_kept) return LLMH_DTYPE_F32;
  if (is_head && output_ != LLMH_DTYPE_INVALID) return fitting(output_, shape);
  for (const Rule& rule : rules_)
    if (std::find(rule.tensors.begin(), rule.tensors.end(), name.part) != rule.tensors.end() &&
        is_among(rule.layers, name.layer, n_layers))
      return fitting(rule.type, shape);
  return fitting(type_, shape);
}

}  // namespace llmhost::model
