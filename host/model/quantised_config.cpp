#include "model/quantised_config.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <utility>

#include "core/error.h"
#include "model/checkpoint_text.h"

namespace llmhost::model {

QuantisationConfig::QuantisationConfig(Json object, std::string source)
    : object_(std::move(object)), source_(std::move(source)) {
  if (!object_.is_object()) throw_invalid("{}: is not an object", source_);
}

const Json* QuantisationConfig::locate(std::string_view key) const {
  const Json* value = &object_;
  for (size_t begin = 0; begin <= key.size();) {
    const size_t dot = std::min(key.find('.', begin), key.size());
    const auto child = value->find(key.substr(begin, dot - begin));
    if (!value->is_object() || child == value->end()) return nullptr;
    value = &*child;
    begin = dot + 1;
  }
  return value->is_null() ? nullptr : value;
}

const Json* QuantisationConfig::find(std::string_view key) {
  read_.emplace(key);
  return locate(key);
}

void QuantisationConfig::refuse(std::string_view key, std::string_view why) const {
  const Json* value = locate(key);
  const std::string shown =
      value == nullptr ? "missing" : value->dump(-1, ' ', true, Json::error_handler_t::replace);
  throw_error(ErrorCode::kUnimplemented, "{}: '{}' is {}: {}", source_, printable(key), printable(shown),
              why);
}

int64_t QuantisationConfig::integer(std::string_view key, int64_t fallback) {
  const Json* value = find(key);
  if (value == nullptr) return fallback;
  if (!value->is_number_integer()) refuse(key, "it must be an integer");
  return value->get<int64_t>();
}

bool QuantisationConfig::flag(std::string_view key, bool fallback) {
  const Json* value = find(key);
  if (value == nullptr) return fallback;
  if (!value->is_boolean()) refuse(key, "it must be true or false");
  return value->get<bool>();
}

std::string QuantisationConfig::text(std::string_view key, std::string_view fallback) {
  const Json* value = find(key);
  if (value == nullptr) return std::string(fallback);
  if (!value->is_string()) refuse(key, "it must be a string");
  return value->get<std::string>();
}

std::vector<int64_t> QuantisationConfig::integers(std::string_view key) {
  const Json* value = find(key);
  if (value == nullptr) return {};
  const bool fits = value->is_array() && std::all_of(value->begin(), value->end(), [](const Json& element) {
                      return element.is_number_integer();
                    });
  if (!fits) refuse(key, "it must be a list of integers");
  return value->get<std::vector<int64_t>>();
}

std::vector<std::string> QuantisationConfig::keys_of(std::string_view object) const {
  const Json* value = locate(object);
  std::vector<std::string> keys;
  if (value == nullptr) return keys;
  if (!value->is_object()) refuse(object, "it must be an object");
  for (const auto& [key, child] : value->items()) keys.push_back(key);
  return keys;
}

void QuantisationConfig::understood(std::initializer_list<std::string_view> keys) {
  for (const std::string_view key : keys) read_.emplace(key);
}

void QuantisationConfig::understood_like(std::initializer_list<std::string_view> prefixes,
                                         std::initializer_list<std::string_view> suffixes) {
  for (auto item = object_.begin(); item != object_.end(); ++item) {
    const std::string& key = item.key();
    const bool begins = std::any_of(prefixes.begin(), prefixes.end(),
                                    [&](std::string_view prefix) { return key.starts_with(prefix); });
    const bool ends = std::any_of(suffixes.begin(), suffixes.end(),
                                  [&](std::string_view suffix) { return key.ends_with(suffix); });
    if (begins || ends) read_.emplace(key);
  }
}

std::string QuantisationConfig::one_of(std::string_view key, std::initializer_list<std::string_view> known) {
  std::string value = text(key, *known.begin());
  std::transform(value.begin(), value.end(), value.begin(),
                 [](char c) { return 'A' <= c && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
  if (std::find(known.begin(), known.end(), value) == known.end())
    refuse(key, fmt::format("only {} are supported", fmt::join(known, ", ")));
  return value;
}

void QuantisationConfig::collect(const Json& value, const std::string& path,
                                 std::vector<std::string>& out) const {
  if (read_.contains(path) || value.is_null()) return;
  if (value.is_object()) {
    for (const auto& [key, child] : value.items()) collect(child, path.empty() ? key : path + "." + key, out);
    return;
  }
  const bool is_empty = value.is_array() && value.empty();
  if (!is_empty) out.push_back(path);
}

std::vector<std::string> QuantisationConfig::unread() const {
  std::vector<std::string> keys;
  collect(object_, "", keys);
  return keys;
}

}  // namespace llmhost::model
