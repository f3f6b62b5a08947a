#include "train/method_config.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <optional>

#include "core/error.h"
#include "core/names.h"
#include "graph/types.h"
#include "plugin/status.h"
#include "train/foreign_names.h"

namespace llmhost::train {
namespace {

using graph::to_view;

std::vector<std::string> split(std::string_view text) {
  std::vector<std::string> parts;
  while (!text.empty()) {
    const size_t end = std::min(text.find('|'), text.size());
    if (end > 0) parts.emplace_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return parts;
}

// What was given on the command line has no line.
std::string place_of(std::string_view source, const YamlNode& node) {
  return node.line == 0 ? "--method-set" : fmt::format("{}:{}:{}", source, node.line, node.column);
}

// Names of other trainers are too far from ours to be taken for typos.
std::string hint(const std::string& name, std::span<const std::string> known) {
  std::string other = foreign_name_hint(name);
  return other.empty() ? did_you_mean(name, known) : other;
}

bool is_number(const MethodKey& key) {
  return key.type == LLMH_KEY_INT || key.type == LLMH_KEY_FLOAT;
}

// What an error says is wanted.
std::string expectation(const MethodKey& key) {
  const std::string range = is_number(key) && key.minimum <= key.maximum && key.maximum < 1e300
                                ? fmt::format(" from {} to {}", key.minimum, key.maximum)
                                : "";
  switch (key.type) {
    case LLMH_KEY_BOOL:
      return "true or false";
    case LLMH_KEY_INT:
      return "a whole number" + range;
    case LLMH_KEY_FLOAT:
      return "a number" + range;
    case LLMH_KEY_STRING_LIST:
      return "a list of texts";
    case LLMH_KEY_STRING_OR_LIST:
      return "a text or a list of texts";
    case LLMH_KEY_MAP:
      return "a map of names to values";
    default:
      break;
  }
  std::string choices;
  for (const std::string& choice : key.choices) choices += (choices.empty() ? "" : ", ") + choice;
  return choices.empty() ? "a text" : "one of " + choices;
}

// Reads one value; what is wrong names the place.
class ValueReader {
 public:
  ValueReader(const MethodKey& key, const YamlNode& node, std::string_view source)
      : key_(key), node_(node), source_(source) {}

  MethodValue read() const {
    MethodValue value;
    switch (key_.type) {
      case LLMH_KEY_STRING_LIST:
        value.is_list = true;
        value.texts = list();
        return value;
      case LLMH_KEY_STRING_OR_LIST:
        value.is_list = node_.kind != YamlNode::Kind::kScalar;
        value.texts = value.is_list ? list() : std::vector{node_.text};
        return value;
      case LLMH_KEY_MAP:
        read_map(value);
        return value;
      default:
        read_scalar(value);
        return value;
    }
  }

 private:
  [[noreturn]] void refuse() const {
    const std::string given = node_.kind == YamlNode::Kind::kScalar ? quote_name(node_.text)
                              : node_.kind == YamlNode::Kind::kList ? "a list"
                              : node_.kind == YamlNode::Kind::kMap  ? "a map"
                                                                    : "nothing";
    const std::string_view near = nearest_name(node_.text, key_.choices);
    throw UsageError(fmt::format("{}: {}: {} is given, it must be {}{}", place_of(source_, node_), key_.name,
                                 given, expectation(key_),
                                 near.empty() ? "" : fmt::format("; did you mean '{}'?", near)));
  }

  template <typename T>
  T number() const {
    T value{};
    const char* const end = node_.text.data() + node_.text.size();
    const auto [stop, error] = std::from_chars(node_.text.data(), end, value);
    const auto as_double = static_cast<double>(value);
    const bool fits = error == std::errc() && stop == end && std::isfinite(as_double);
    const bool in_range =
        key_.minimum > key_.maximum || (as_double >= key_.minimum && as_double <= key_.maximum);
    if (node_.is_quoted || !fits || !in_range) refuse();
    return value;
  }

  void read_scalar(MethodValue& value) const {
    if (node_.kind != YamlNode::Kind::kScalar) refuse();
    if (key_.type == LLMH_KEY_BOOL) {
      constexpr std::array<std::string_view, 5> kYes = {"true", "True", "TRUE", "yes", "on"};
      constexpr std::array<std::string_view, 5> kNo = {"false", "False", "FALSE", "no", "off"};
      const bool is_yes = std::ranges::find(kYes, node_.text) != kYes.end();
      const bool is_no = std::ranges::find(kNo, node_.text) != kNo.end();
      if (node_.is_quoted || is_yes == is_no) refuse();
      value.integer = is_yes ? 1 : 0;
    } else if (key_.type == LLMH_KEY_INT) {
      value.integer = number<int64_t>();
    } else if (key_.type == LLMH_KEY_FLOAT) {
      value.number = number<double>();
    } else {
      if (!key_.choices.empty() && std::ranges::find(key_.choices, node_.text) == key_.choices.end())
        refuse();
      value.texts.push_back(node_.text);
    }
  }

  std::vector<std::string> list() const {
    if (node_.kind != YamlNode::Kind::kList) refuse();
    std::vector<std::string> items;
    for (const YamlNode& item : node_.items) {
      if (item.kind != YamlNode::Kind::kScalar) refuse();
      items.push_back(item.text);
    }
    return items;
  }

  void read_map(MethodValue& value) const {
    if (node_.kind != YamlNode::Kind::kMap) refuse();
    value.is_map = true;
    for (size_t i = 0; i < node_.items.size(); ++i) {
      if (node_.items[i].kind != YamlNode::Kind::kScalar) refuse();
      value.names.push_back(node_.keys[i].text);
      value.texts.push_back(node_.items[i].text);
    }
  }

  const MethodKey& key_;
  const YamlNode& node_;
  std::string_view source_;
};

MethodValue default_value(const MethodKey& key) {
  return ValueReader(key, parse_yaml(key.default_value, "default of " + key.name), "default").read();
}

bool is_named(const MethodKey& key, std::string_view name) {
  return key.name == name || std::ranges::find(key.aliases, name) != key.aliases.end();
}

std::vector<std::string> all_names(const std::vector<MethodKey>& keys) {
  std::vector<std::string> names;
  for (const MethodKey& key : keys) {
    names.push_back(key.name);
    names.insert(names.end(), key.aliases.begin(), key.aliases.end());
  }
  return names;
}

// Collects llmh_schema_sink.add.
struct KeyCollector {
  llmh_schema_sink base{sizeof(llmh_schema_sink), &KeyCollector::add};
  std::vector<MethodKey> keys;

  static llmh_status* add(llmh_schema_sink* sink, const llmh_key_spec* spec) {
    return plugin::guard([&] {
      auto& collected = reinterpret_cast<KeyCollector*>(sink)->keys;
      MethodKey key;
      key.name = to_view(spec->name);
      key.type = spec->type;
      key.documentation = to_view(spec->documentation);
      key.default_value = to_view(spec->default_value);
      key.is_required = key.default_value.empty();
      key.minimum = spec->minimum;
      key.maximum = spec->maximum;
      key.choices = split(to_view(spec->choices));
      if (spec->struct_size > offsetof(llmh_key_spec, aliases)) key.aliases = split(to_view(spec->aliases));
      check(key, collected);
      collected.push_back(std::move(key));
    });
  }

  static void check(const MethodKey& key, const std::vector<MethodKey>& others) {
    if (key.name.empty() || key.type < LLMH_KEY_BOOL || key.type > LLMH_KEY_MAP)
      throw_invalid("key '{}' of type {}: the host knows types {} to {}", key.name, key.type,
                    int{LLMH_KEY_BOOL}, int{LLMH_KEY_MAP});
    const std::vector<std::string> known = all_names(others);
    for (const std::string& name : all_names({key}))
      if (std::ranges::find(known, name) != known.end()) throw_invalid("key '{}' is declared twice", name);
    if (!key.is_required) default_value(key);
  }
};

}  // namespace

std::vector<MethodKey> method_keys(const llmh_finetune& api) {
  KeyCollector collector;
  plugin::check(api.schema(&collector.base), "declaring its keys");
  return std::move(collector.keys);
}

// The functions of the table. A question for a key or a type that was not declared is a fault of the plugin.
struct MethodConfig::Thunks {
  static const MethodValue& value(const llmh_config* self, llmh_str key,
                                  std::initializer_list<int32_t> types) {
    const auto& own = *static_cast<const MethodConfig*>(self);
    for (const MethodKey& known : own.keys_) {
      if (!is_named(known, to_view(key))) continue;
      if (std::ranges::find(types, known.type) == types.end())
        throw_error(ErrorCode::kInternal, "key '{}' was declared with type {}", known.name, known.type);
      return own.values_.find(known.name)->second;
    }
    throw_error(ErrorCode::kInternal, "key '{}' was not declared in the schema", to_view(key));
  }
  static const std::string& item(const std::vector<std::string>& items, llmh_str key, uint32_t index) {
    if (index >= items.size())
      throw_error(ErrorCode::kOutOfRange, "key '{}' has {} items, {} is asked for", to_view(key),
                  items.size(), index);
    return items[index];
  }
  static constexpr std::initializer_list<int32_t> kLists = {LLMH_KEY_STRING_LIST, LLMH_KEY_STRING_OR_LIST,
                                                            LLMH_KEY_MAP};
  static constexpr std::initializer_list<int32_t> kAll = {
      LLMH_KEY_BOOL,           LLMH_KEY_INT, LLMH_KEY_FLOAT, LLMH_KEY_STRING, LLMH_KEY_STRING_LIST,
      LLMH_KEY_STRING_OR_LIST, LLMH_KEY_MAP};

  static llmh_status* get_int(const llmh_config* self, llmh_str key, int64_t* out) {
    return plugin::guard([&] { *out = value(self, key, {LLMH_KEY_BOOL, LLMH_KEY_INT}).integer; });
  }
  static llmh_status* get_float(const llmh_config* self, llmh_str key, double* out) {
    return plugin::guard([&] { *out = value(self, key, {LLMH_KEY_FLOAT}).number; });
  }
  static llmh_status* get_string(const llmh_config* self, llmh_str key, llmh_str* out) {
    return plugin::guard([&] { *out = graph::to_str(value(self, key, {LLMH_KEY_STRING}).texts.front()); });
  }
  static llmh_status* get_size(const llmh_config* self, llmh_str key, uint32_t* out) {
    return plugin::guard([&] { *out = static_cast<uint32_t>(value(self, key, kLists).texts.size()); });
  }
  static llmh_status* get_list(const llmh_config* self, llmh_str key, uint32_t index, llmh_str* out) {
    return plugin::guard([&] {
      const MethodValue& own = value(self, key, kLists);
      *out = graph::to_str(item(own.is_map ? own.names : own.texts, key, index));
    });
  }
  static llmh_status* get_kind(const llmh_config* self, llmh_str key, int32_t* out) {
    return plugin::guard([&] {
      const bool is_list = value(self, key, {LLMH_KEY_STRING_OR_LIST}).is_list;
      *out = is_list ? LLMH_KEY_STRING_LIST : LLMH_KEY_STRING;
    });
  }
  static llmh_status* get_value(const llmh_config* self, llmh_str key, uint32_t index, llmh_str* out) {
    return plugin::guard(
        [&] { *out = graph::to_str(item(value(self, key, {LLMH_KEY_MAP}).texts, key, index)); });
  }
  static llmh_status* is_given(const llmh_config* self, llmh_str key, int32_t* out) {
    return plugin::guard([&] { *out = value(self, key, kAll).is_given ? 1 : 0; });
  }
};

MethodConfig::MethodConfig(std::vector<MethodKey> keys, const YamlNode& settings, std::string_view source)
    : llmh_config{sizeof(llmh_config), &Thunks::get_int,   &Thunks::get_float,
                  &Thunks::get_string, &Thunks::get_size,  &Thunks::get_list,
                  &Thunks::get_kind,   &Thunks::get_value, &Thunks::is_given},
      keys_(std::move(keys)) {
  if (settings.kind != YamlNode::Kind::kMap && settings.kind != YamlNode::Kind::kNull)
    throw UsageError(
        fmt::format("{}: a map of the method's keys is wanted here", place_of(source, settings)));
  std::map<std::string, std::string> given_as;
  for (size_t i = 0; i < settings.items.size(); ++i) {
    const YamlNode& name = settings.keys[i];
    const auto key = std::ranges::find_if(keys_, [&](const MethodKey& k) { return is_named(k, name.text); });
    if (key == keys_.end())
      throw UsageError(fmt::format("{}: unknown key {}{}", place_of(source, name), quote_name(name.text),
                                   hint(name.text, all_names(keys_))));
    const auto [first, is_new] = given_as.emplace(key->name, name.text);
    if (!is_new)
      throw UsageError(fmt::format("{}: '{}' and '{}' are the same key", place_of(source, name),
                                   first->second, name.text));
    // Nothing written behind the colon: as if the key were not there.
    if (settings.items[i].kind == YamlNode::Kind::kNull) continue;
    MethodValue value = ValueReader(*key, settings.items[i], source).read();
    value.is_given = true;
    values_.emplace(key->name, std::move(value));
  }
  add_defaults(settings, source);
}

void MethodConfig::add_defaults(const YamlNode& settings, std::string_view source) {
  for (const MethodKey& key : keys_) {
    if (values_.contains(key.name)) continue;
    if (key.is_required)
      throw UsageError(fmt::format("{}: the key '{}' is missing: {}", place_of(source, settings), key.name,
                                   key.documentation));
    values_.emplace(key.name, default_value(key));
  }
}

}  // namespace llmhost::train
