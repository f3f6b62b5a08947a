#include "infer_state.h"

#include <algorithm>
#include <cctype>

#include "expression.h"

namespace declarative {

using llmh::Error;

std::string Inference::key(std::initializer_list<std::string_view> names) const {
  for (const std::string_view name : names)
    if (model.has(name)) return std::string(name);
  return {};
}

bool Inference::is_written(const std::string& name) const {
  const std::vector<std::string> keys = model.keys();
  return std::find(keys.begin(), keys.end(), name) != keys.end();
}

int64_t Inference::integer(const std::string& name) const {
  if (model.kind_of(name) != LLMH_KIND_OF_INT) refuse("config key '" + name + "' is no whole number");
  const int64_t value = *model.find_int(name);
  remember(name, std::to_string(value));
  return value;
}

double Inference::number(const std::string& name) const {
  const int32_t kind = model.kind_of(name);
  if (kind != LLMH_KIND_OF_INT && kind != LLMH_KIND_OF_FLOAT)
    refuse("config key '" + name + "' is no number");
  const double value = *model.find_float(name);
  remember(name, to_text(Value(value)));
  return value;
}

bool Inference::flag(const std::string& name, bool fallback) const {
  if (model.kind_of(name) != LLMH_KIND_OF_BOOL) return fallback;
  const bool value = *model.find_bool(name);
  remember(name, value ? "true" : "false");
  return value;
}

std::string Inference::word(const std::string& name) const {
  if (model.kind_of(name) != LLMH_KIND_OF_STRING) return {};
  std::string value = *model.find_string(name);
  remember(name, value.find('\'') == std::string::npos ? "'" + value + "'" : "\"" + value + "\"");
  return value;
}

void Inference::ignore(std::initializer_list<std::string_view> names) {
  for (const std::string_view name : names)
    if (model.has(name)) ignored_keys.emplace_back(name);
}

void Inference::pin_keys() {
  const std::string text = document.text();
  const auto is_ignored = [&](const std::string& name) {
    return std::find(ignored_keys.begin(), ignored_keys.end(), name) != ignored_keys.end();
  };
  const auto stands_in_text = [&](const std::string& name) {
    for (size_t at = text.find("$" + name); at != std::string::npos; at = text.find("$" + name, at + 1)) {
      const size_t end = at + 1 + name.size();
      const char next = end < text.size() ? text[end] : ' ';
      if (std::isalnum(static_cast<unsigned char>(next)) == 0 && next != '_') return true;
    }
    return false;
  };
  for (const auto& [name, value] : read_) {
    if (is_ignored(name) || stands_in_text(name)) continue;
    // The reader of rotations knows its settings.
    if (name.starts_with("rope_") && name.find('.') != std::string::npos && !is_ignored(parent_of(name)))
      continue;
    const bool is_element =
        std::all_of(name.begin() + static_cast<std::ptrdiff_t>(name.rfind('.') + 1), name.end(),
                    [](char c) { return std::isdigit(static_cast<unsigned char>(c)) != 0; });
    if (is_element) {
      const std::string list = parent_of(name);
      if (!is_ignored(list) && !stands_in_text(list)) ignored_keys.push_back(list);
      continue;
    }
    Draft& refusal = document.item("refuse");
    const bool off = value == "false" || value == "0";
    refusal.set("when", off ? "($" + name + " | " + value + ") != " + value : "$" + name + " != " + value);
    refusal.set("because",
                "'" + name + "' is not " + value + ", as it was where this description comes from");
  }
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
