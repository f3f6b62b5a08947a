#include "infer_state.h"

namespace declarative {

using llmh::Error;

std::string Inference::key(std::initializer_list<std::string_view> names) const {
  for (const std::string_view name : names)
    if (model.has(name)) return std::string(name);
  return {};
}

int64_t Inference::integer(const std::string& name) const {
  if (model.kind_of(name) != LLMH_KIND_OF_INT) refuse("config key '" + name + "' is no whole number");
  return *model.find_int(name);
}

double Inference::number(const std::string& name) const {
  const int32_t kind = model.kind_of(name);
  if (kind != LLMH_KIND_OF_INT && kind != LLMH_KIND_OF_FLOAT)
    refuse("config key '" + name + "' is no number");
  return *model.find_float(name);
}

bool Inference::flag(const std::string& name, bool fallback) const {
  return model.kind_of(name) == LLMH_KIND_OF_BOOL ? *model.find_bool(name) : fallback;
}

std::string Inference::word(const std::string& name) const {
  return model.kind_of(name) == LLMH_KIND_OF_STRING ? *model.find_string(name) : "";
}

void Inference::ignore(std::initializer_list<std::string_view> names) {
  for (const std::string_view name : names)
    if (model.has(name)) ignored_keys.emplace_back(name);
}

std::string Inference::choose(const std::string& what, const std::string& value, const std::string& source,
                              int certainty) {
  choices.push_back({what, value, source, certainty});
  if (certainty >= 90) return {};
  return (certainty < 60 ? "a guess, " : "") + source + " (" + std::to_string(certainty) + " %)";
}

void Inference::refuse(const std::string& what) {
  throw Error(LLMH_UNIMPLEMENTED, "nobody described this model type, and inference stops: " + what);
}

Shape Inference::linear(const std::string& module) const {
  const LayerTensor* stored = tensors.find(module + ".weight");
  if (stored == nullptr) refuse("tensor '" + tensors.pattern() + "." + module + ".weight' is missing");
  Shape shape = stored->shape();
  if (shape.size() != 2) refuse("tensor '" + tensors.pattern() + "." + module + ".weight' is no matrix");
  if (transposed) std::swap(shape[0], shape[1]);
  return shape;
}

void Inference::use_linear(const std::string& module) {
  tensors.claim_module(module);
  const std::string name = tensors.pattern() + "." + module + ".weight";
  if (transposed) name_rule(name, name, true);
}

void Inference::name_rule(const std::string& hub, const std::string& stored, bool turned) {
  Draft& rule = document.item("names");
  rule.set("hub", hub);
  rule.set("stored", stored);
  if (turned) rule.item("steps").set("transposed", "true");
}

void Inference::require_everywhere(const std::string& tensor) const {
  const LayerTensor* stored = tensors.find(tensor);
  for (int64_t i = 0; i < layers; ++i)
    if (stored == nullptr || !stored->shapes.contains(i))
      refuse("layer " + std::to_string(i) + " has no tensor '" + tensor + "', which others have");
}

std::string Inference::only_where(const std::string& tensor) const {
  const LayerTensor* stored = tensors.find(tensor);
  const bool everywhere = stored != nullptr && static_cast<int64_t>(stored->shapes.size()) == layers;
  return everywhere ? "" : "has(" + tensors.quoted(tensor) + ")";
}

}  // namespace declarative
