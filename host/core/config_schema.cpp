#include <fmt/format.h>

#include <algorithm>

#include "core/config.h"
#include "core/error.h"
#include "core/names.h"

namespace llmhost {
namespace {

std::string_view parent_of(std::string_view path) {
  const size_t dot = path.rfind('.');
  return dot == std::string_view::npos ? std::string_view{} : path.substr(0, dot);
}

std::string_view leaf_of(std::string_view path) {
  const size_t dot = path.rfind('.');
  return dot == std::string_view::npos ? path : path.substr(dot + 1);
}

bool is_well_formed(std::string_view path) {
  const auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-' || c == '.';
  };
  return !path.empty() && path.front() != '.' && path.back() != '.' && path.find("..") == path.npos &&
         std::all_of(path.begin(), path.end(), allowed);
}

ConfigKey make_key(std::string path, ConfigType type, ConfigValue fallback, std::string doc) {
  ConfigKey key;
  key.path = std::move(path);
  key.type = type;
  key.fallback = std::move(fallback);
  key.doc = std::move(doc);
  return key;
}

}  // namespace

std::string ConfigKey::expectation() const {
  switch (type) {
    case ConfigType::kBool:
      return "true or false";
    case ConfigType::kInt:
      if (max_int == std::numeric_limits<int64_t>::max()) {
        const bool is_open = min_int == std::numeric_limits<int64_t>::min();
        return is_open ? "an integer" : fmt::format("an integer of at least {}", min_int);
      }
      return fmt::format("an integer from {} to {}", min_int, max_int);
    case ConfigType::kFloat:
      if (max_float == std::numeric_limits<double>::max()) {
        const bool is_open = min_float == std::numeric_limits<double>::lowest();
        return is_open ? "a number" : fmt::format("a number of at least {}", min_float);
      }
      return fmt::format("a number from {} to {}", min_float, max_float);
    case ConfigType::kString:
      return "a text";
    case ConfigType::kEnum:
      return fmt::format("one of {}", fmt::join(choices, ", "));
    case ConfigType::kList:
      return "a list of texts";
  }
  return {};
}

std::string ConfigKey::environment_name() const {
  std::string name = "LLMHOST_";
  for (const char c : path) {
    const bool is_lower = c >= 'a' && c <= 'z';
    name += is_lower ? static_cast<char>(c - 'a' + 'A') : (c == '.' || c == '-' ? '_' : c);
  }
  return name;
}

ConfigSchema& ConfigSchema::add(ConfigKey key) {
  if (!is_well_formed(key.path))
    throw_error(ErrorCode::kInternal, "config key {}: not well formed", key.path);
  const bool clashes =
      find(key.path) != nullptr || is_section(key.path) || find(parent_of(key.path)) != nullptr;
  if (clashes || !environment_.emplace(key.environment_name(), keys_.size()).second)
    throw_error(ErrorCode::kInternal, "config key {}: clashes with another key", key.path);
  index_.emplace(key.path, keys_.size());
  keys_.push_back(std::move(key));
  return *this;
}

ConfigSchema& ConfigSchema::add_bool(std::string path, bool fallback, std::string doc) {
  return add(make_key(std::move(path), ConfigType::kBool, fallback, std::move(doc)));
}

ConfigSchema& ConfigSchema::add_int(std::string path, int64_t fallback, int64_t min, int64_t max,
                                    std::string doc) {
  ConfigKey key = make_key(std::move(path), ConfigType::kInt, fallback, std::move(doc));
  key.min_int = min;
  key.max_int = max;
  return add(std::move(key));
}

ConfigSchema& ConfigSchema::add_float(std::string path, double fallback, double min, double max,
                                      std::string doc) {
  ConfigKey key = make_key(std::move(path), ConfigType::kFloat, fallback, std::move(doc));
  key.min_float = min;
  key.max_float = max;
  return add(std::move(key));
}

ConfigSchema& ConfigSchema::add_string(std::string path, std::string fallback, std::string doc) {
  return add(make_key(std::move(path), ConfigType::kString, std::move(fallback), std::move(doc)));
}

ConfigSchema& ConfigSchema::add_enum(std::string path, std::vector<std::string> choices, std::string fallback,
                                     std::string doc) {
  ConfigKey key = make_key(std::move(path), ConfigType::kEnum, std::move(fallback), std::move(doc));
  key.choices = std::move(choices);
  return add(std::move(key));
}

ConfigSchema& ConfigSchema::add_list(std::string path, std::vector<std::string> fallback, std::string doc) {
  return add(make_key(std::move(path), ConfigType::kList, std::move(fallback), std::move(doc)));
}

ConfigSchema& ConfigSchema::add_section(const std::string& prefix, const ConfigSchema& other) {
  for (ConfigKey key : other.keys()) {
    key.path = prefix + "." + key.path;
    add(std::move(key));
  }
  return *this;
}

const ConfigKey* ConfigSchema::find(std::string_view path) const {
  const auto found = index_.find(path);
  return found == index_.end() ? nullptr : &keys_[found->second];
}

bool ConfigSchema::is_section(std::string_view path) const {
  const std::string prefix = std::string(path) + ".";
  const auto next = index_.lower_bound(prefix);
  return next != index_.end() && next->first.starts_with(prefix);
}

std::vector<std::string> ConfigSchema::names_in(std::string_view section) const {
  std::vector<std::string> names;
  const std::string prefix = section.empty() ? std::string() : std::string(section) + ".";
  for (const ConfigKey& key : keys_) {
    if (!key.path.starts_with(prefix)) continue;
    std::string name = key.path.substr(prefix.size());
    name.resize(std::min(name.size(), name.find('.')));
    if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(std::move(name));
  }
  return names;
}

std::string ConfigSchema::unknown_key(std::string_view path) const {
  const std::string_view section = parent_of(path);
  const std::string text = "unknown key " + quote_name(path);
  const std::vector<std::string> siblings = names_in(section);
  const std::string_view near = nearest_name(leaf_of(path), siblings);
  if (!near.empty())
    return fmt::format("{}; did you mean '{}{}{}'?", text, section, section.empty() ? "" : ".", near);
  std::vector<std::string> all;
  for (const ConfigKey& key : keys_) {
    if (leaf_of(key.path) == leaf_of(path)) return fmt::format("{}; did you mean '{}'?", text, key.path);
    all.push_back(key.path);
  }
  const std::string_view anywhere = nearest_name(path, all);
  if (!anywhere.empty()) return fmt::format("{}; did you mean '{}'?", text, anywhere);
  return text + did_you_mean(leaf_of(path), siblings);
}

std::string describe(const ConfigSchema& schema) {
  std::string table = "| key | value | default | meaning |\n| --- | --- | --- | --- |\n";
  for (const ConfigKey& key : schema.keys())
    table += fmt::format("| `{}` | {} | `{}` | {} |\n", key.path, key.expectation(), to_string(key.fallback),
                         key.doc);
  return table;
}

}  // namespace llmhost
