#include "core/config.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <optional>
#include <utility>

#include "core/error.h"
#include "core/file.h"
#include "core/names.h"
#include "core/yaml.h"

namespace llmhost {
namespace {

constexpr size_t kMaxConfigBytes = size_t{1} << 20;
constexpr std::string_view kEnvironmentPrefix = "LLMHOST_";
// Named like a setting of the section "api", but secret: only what checks keys reads it.
constexpr std::string_view kKeyVariable = "LLMHOST_API_KEY";

std::optional<bool> parse_bool(std::string_view text) {
  for (const std::string_view yes : {"true", "True", "TRUE", "yes", "on", "1"})
    if (text == yes) return true;
  for (const std::string_view no : {"false", "False", "FALSE", "no", "off", "0"})
    if (text == no) return false;
  return std::nullopt;
}

template <typename T>
std::optional<T> parse_number(std::string_view text) {
  if (text.starts_with('+')) text.remove_prefix(1);
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.starts_with('+') || error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::vector<std::string> split_list(std::string_view text) {
  std::vector<std::string> items;
  while (!text.empty()) {
    const size_t comma = std::min(text.find(','), text.size());
    items.emplace_back(text.substr(0, comma));
    text.remove_prefix(std::min(comma + 1, text.size()));
  }
  return items;
}

// The value that `text` spells for this key, or nothing where it does not fit.
std::optional<ConfigValue> parse_value(const ConfigKey& key, std::string_view text) {
  switch (key.type) {
    case ConfigType::kBool:
      if (const auto value = parse_bool(text)) return *value;
      return std::nullopt;
    case ConfigType::kInt:
      if (const auto value = parse_number<int64_t>(text))
        if (*value >= key.min_int && *value <= key.max_int) return *value;
      return std::nullopt;
    case ConfigType::kFloat:
      if (const auto value = parse_number<double>(text))
        if (std::isfinite(*value) && *value >= key.min_float && *value <= key.max_float) return *value;
      return std::nullopt;
    case ConfigType::kEnum:
      for (const std::string& choice : key.choices)
        if (choice == text) return choice;
      return std::nullopt;
    case ConfigType::kString:
      return std::string(text);
    case ConfigType::kList:
      return split_list(text);
  }
  return std::nullopt;
}

[[noreturn]] void refuse(const ConfigKey& key, std::string_view where, std::string_view text) {
  const std::string hint = key.type == ConfigType::kEnum && !nearest_name(text, key.choices).empty()
                               ? did_you_mean(text, key.choices)
                               : std::string();
  throw UsageError(
      fmt::format("{}: {} is {}, expected {}{}", where, key.path, quote_name(text), key.expectation(), hint));
}

ConfigValue parse_or_refuse(const ConfigKey& key, std::string_view text, std::string_view where) {
  if (auto value = parse_value(key, text)) return *std::move(value);
  refuse(key, where, text);
}

std::string_view kind_name(const YamlNode& node) {
  constexpr std::array<std::string_view, 4> kNames = {"no value", "a single value", "a list", "a section"};
  return kNames[static_cast<size_t>(node.kind)];
}

[[noreturn]] void refuse_kind(const ConfigKey& key, const YamlNode& node, std::string_view where) {
  throw UsageError(
      fmt::format("{}: {} is {}, expected {}", where, key.path, kind_name(node), key.expectation()));
}

std::string place(std::string_view source, const YamlNode& node) {
  return fmt::format("{}:{}:{}", source, node.line, node.column);
}

ConfigValue value_of(const ConfigKey& key, const YamlNode& node, std::string_view source) {
  const std::string where = place(source, node);
  if (key.type == ConfigType::kList) {
    if (node.kind != YamlNode::Kind::kList) refuse_kind(key, node, where);
    std::vector<std::string> items;
    for (const YamlNode& item : node.items) {
      if (item.kind != YamlNode::Kind::kScalar) refuse_kind(key, item, place(source, item));
      items.push_back(item.text);
    }
    return items;
  }
  if (node.kind != YamlNode::Kind::kScalar) refuse_kind(key, node, where);
  const bool is_text = key.type == ConfigType::kString || key.type == ConfigType::kEnum;
  if (node.is_quoted && !is_text)
    throw UsageError(fmt::format("{}: {} is the text {}, expected {} without quotes", where, key.path,
                                 quote_name(node.text), key.expectation()));
  return parse_or_refuse(key, node.text, where);
}

template <typename T>
const T& get(const Settings& settings, std::string_view path) {
  const T* value = std::get_if<T>(&settings.at(path).value);
  if (value == nullptr) throw_error(ErrorCode::kInternal, "config key {}: asked for as another type", path);
  return *value;
}

}  // namespace

Settings::Settings(ConfigSchema schema) : schema_(std::move(schema)) {
  for (const ConfigKey& key : schema_.keys()) settings_[key.path].value = key.fallback;
}

void Settings::put(const ConfigKey& key, ConfigValue value, SettingSource source, std::string where) {
  Setting& setting = settings_.find(key.path)->second;
  if (source < setting.source) return;
  setting = {std::move(value), source, std::move(where)};
}

void Settings::load_file(const std::filesystem::path& path) {
  std::string text;
  try {
    text = read_file(path, kMaxConfigBytes);
  } catch (const Error& e) {
    throw UsageError(e.what());
  }
  load_text(text, path.string());
}

void Settings::load_text(std::string_view yaml, std::string_view source) {
  YamlLimits limits;
  limits.max_bytes = kMaxConfigBytes;
  YamlNode root;
  try {
    root = parse_yaml(yaml, source, limits);
  } catch (const Error& e) {
    throw UsageError(e.what());
  }
  load_node(root, source);
}

void Settings::load_node(const YamlNode& map, std::string_view source) {
  if (map.kind == YamlNode::Kind::kNull) return;
  if (map.kind != YamlNode::Kind::kMap)
    throw UsageError(
        fmt::format("{}: there is {}, expected 'key: value' lines", place(source, map), kind_name(map)));
  load_map(map, "", source);
}

void Settings::take_file_values(const Settings& other) {
  for (const auto& [path, setting] : other.settings_)
    if (setting.source == SettingSource::kFile)
      if (const ConfigKey* key = schema_.find(path)) put(*key, setting.value, setting.source, setting.where);
}

void Settings::load_map(const YamlNode& map, const std::string& section, std::string_view source) {
  for (size_t i = 0; i < map.keys.size(); ++i) {
    const YamlNode& name = map.keys[i];
    const YamlNode& node = map.items[i];
    const std::string path = section.empty() ? name.text : section + "." + name.text;
    // A dot inside a name would reach another section by a second spelling, and so could be given twice.
    const bool is_dotted = name.text.find('.') != std::string::npos;
    const ConfigKey* key = is_dotted ? nullptr : schema_.find(path);
    if (key != nullptr) {
      put(*key, value_of(*key, node, source), SettingSource::kFile, place(source, name));
    } else if (is_dotted || !schema_.is_section(path)) {
      const bool is_known = is_dotted && schema_.find(path) != nullptr;
      throw UsageError(fmt::format(
          "{}: {}", place(source, name),
          is_known ? "write " + quote_name(path) + " as nested sections" : schema_.unknown_key(path)));
    } else if (node.kind == YamlNode::Kind::kMap) {
      load_map(node, path, source);
    } else if (node.kind != YamlNode::Kind::kNull) {
      throw UsageError(fmt::format("{}: {} is {}, expected a section with keys", place(source, node), path,
                                   kind_name(node)));
    }
  }
}

void Settings::load_environment(const char* const* environment) {
  std::map<std::string, const ConfigKey*, std::less<>> keys;
  std::vector<std::string> names;
  std::vector<std::string> prefixes;  // LLMHOST_<SECTION>_: other LLMHOST_ variables belong to someone else
  for (const ConfigKey& key : schema_.keys()) {
    names.push_back(key.environment_name());
    keys.emplace(names.back(), &key);
    const size_t dot = key.path.find('.');
    if (dot != std::string::npos)
      prefixes.push_back(names.back().substr(0, kEnvironmentPrefix.size() + dot + 1));
  }
  for (const char* const* entry = environment != nullptr ? environment : ::environ; *entry != nullptr;
       ++entry) {
    const std::string_view text = *entry;
    if (!text.starts_with(kEnvironmentPrefix)) continue;
    const size_t equals = std::min(text.find('='), text.size());
    const std::string_view name = text.substr(0, equals);
    const std::string_view value = text.substr(std::min(equals + 1, text.size()));
    const auto found = keys.find(name);
    if (found != keys.end()) {
      const std::string where = fmt::format("${}", name);
      put(*found->second, parse_or_refuse(*found->second, value, where), SettingSource::kEnvironment, where);
      continue;
    }
    for (const std::string& prefix : prefixes)
      if (name.starts_with(prefix) && name != kKeyVariable)
        throw UsageError(fmt::format("${}: no such setting{}", name, did_you_mean(name, names)));
  }
}

void Settings::set(std::string_view path, std::string_view text, std::string_view option) {
  const std::string where = option.empty() ? fmt::format("--set {}", path) : std::string(option);
  const ConfigKey* key = schema_.find(path);
  if (key == nullptr) throw UsageError(fmt::format("--set: {}", schema_.unknown_key(path)));
  put(*key, parse_or_refuse(*key, text, where), SettingSource::kCommandLine, where);
}

void Settings::set_assignment(std::string_view assignment) {
  const size_t equals = assignment.find('=');
  if (equals == std::string_view::npos)
    throw UsageError(fmt::format("--set: {} is not of the form key=value", quote_name(assignment)));
  set(assignment.substr(0, equals), assignment.substr(equals + 1));
}

const Setting& Settings::at(std::string_view path) const {
  const auto found = settings_.find(path);
  if (found == settings_.end()) throw_error(ErrorCode::kInternal, "config key {}: not in the schema", path);
  return found->second;
}

bool Settings::get_bool(std::string_view path) const {
  return get<bool>(*this, path);
}
int64_t Settings::get_int(std::string_view path) const {
  return get<int64_t>(*this, path);
}
double Settings::get_float(std::string_view path) const {
  return get<double>(*this, path);
}
const std::string& Settings::get_string(std::string_view path) const {
  return get<std::string>(*this, path);
}
const std::vector<std::string>& Settings::get_list(std::string_view path) const {
  return get<std::vector<std::string>>(*this, path);
}

std::string to_string(const ConfigValue& value) {
  if (const auto* flag = std::get_if<bool>(&value)) return *flag ? "true" : "false";
  if (const auto* integer = std::get_if<int64_t>(&value)) return fmt::format("{}", *integer);
  if (const auto* number = std::get_if<double>(&value)) return fmt::format("{}", *number);
  if (const auto* text = std::get_if<std::string>(&value)) return *text;
  return fmt::format("[{}]", fmt::join(std::get<std::vector<std::string>>(value), ", "));
}

std::string_view to_string(SettingSource source) {
  constexpr std::array<std::string_view, 4> kNames = {"default", "file", "environment", "command line"};
  return kNames[static_cast<size_t>(source)];
}

}  // namespace llmhost
