// The life cycle of a fine-tuning method on its default config.
#include <deque>
#include <map>

#include "check/cases.h"
#include "check/child.h"
#include "core/error.h"
#include "core/yaml.h"
#include "plugin/status.h"

namespace llmhost::check {
namespace {

std::string_view view(llmh_str text) {
  return text.ptr == nullptr ? std::string_view() : std::string_view(text.ptr, text.len);
}

struct Key {
  int32_t type = 0;
  std::string text;  // the default, as written
  double minimum = 0, maximum = 0;
  std::vector<std::string> items;  // of a list
  std::string scalar;
};

// Collects the schema.
struct Schema {
  llmh_schema_sink base{sizeof(llmh_schema_sink), &Schema::add};
  std::map<std::string, Key, std::less<>> keys;

  static llmh_status* add(llmh_schema_sink* sink, const llmh_key_spec* spec) {
    return plugin::guard([&] {
      const std::string name(view(spec->name));
      at("schema, the key " + name);
      if (name.empty()) throw_invalid("a key without a name");
      if (spec->type < LLMH_KEY_BOOL || spec->type > LLMH_KEY_STRING_LIST)
        throw_invalid("key '{}': unknown type {}", name, spec->type);
      if (spec->documentation.len == 0) throw_invalid("key '{}' has no documentation", name);
      auto& declared = reinterpret_cast<Schema*>(sink)->keys;
      Key key{spec->type, std::string(view(spec->default_value)), spec->minimum, spec->maximum, {}, {}};
      if (!key.text.empty()) {
        const YamlNode node = parse_yaml(key.text, fmt::format("default of '{}'", name), {});
        key.scalar = node.text;
        for (const YamlNode& item : node.items) key.items.push_back(item.text);
      }
      if (!declared.emplace(name, std::move(key)).second) throw_invalid("key '{}' is declared twice", name);
    });
  }
};

// The defaults as a config.
struct Defaults {
  llmh_config base{};
  const Schema* schema = nullptr;

  explicit Defaults(const Schema& from) : schema(&from) {
    base = {sizeof(llmh_config), &get_int, &get_float, &get_string, &get_size, &get_list};
  }
  static const Key& key(const llmh_config* config, llmh_str name) {
    const auto& keys = reinterpret_cast<const Defaults*>(config)->schema->keys;
    const auto found = keys.find(view(name));
    if (found == keys.end())
      throw_error(ErrorCode::kInternal, "key '{}' is asked for and not declared", view(name));
    return found->second;
  }
  static llmh_status* get_int(const llmh_config* config, llmh_str name, int64_t* out) {
    return plugin::guard([&] {
      const Key& found = key(config, name);
      *out = found.type == LLMH_KEY_BOOL ? (found.scalar == "true" ? 1 : 0) : std::stoll(found.scalar);
    });
  }
  static llmh_status* get_float(const llmh_config* config, llmh_str name, double* out) {
    return plugin::guard([&] { *out = std::stod(key(config, name).scalar); });
  }
  static llmh_status* get_string(const llmh_config* config, llmh_str name, llmh_str* out) {
    return plugin::guard([&] {
      const std::string& text = key(config, name).scalar;
      *out = {text.data(), text.size()};
    });
  }
  static llmh_status* get_size(const llmh_config* config, llmh_str name, uint32_t* out) {
    return plugin::guard([&] { *out = static_cast<uint32_t>(key(config, name).items.size()); });
  }
  static llmh_status* get_list(const llmh_config* config, llmh_str name, uint32_t index, llmh_str* out) {
    return plugin::guard([&] {
      const Key& found = key(config, name);
      if (index >= found.items.size())
        throw_error(ErrorCode::kOutOfRange, "item {} of {}", index, found.items.size());
      *out = {found.items[index].data(), found.items[index].size()};
    });
  }
};

const llmh_finetune& method_of(const Subject& subject) {
  static const auto registry = own_registry(subject);
  return plugin::finetune(registry->require(plugin::Kind::kFinetune, subject.manifest.id));
}

std::string schema_case(const Subject& subject) {
  Schema first;
  Schema second;
  plugin::check(method_of(subject).schema(&first.base), "schema");
  plugin::check(method_of(subject).schema(&second.base), "schema, the second time");
  if (first.keys.size() != second.keys.size())
    throw_error(ErrorCode::kInternal, "schema declares {} keys, then {}", first.keys.size(),
                second.keys.size());
  return fmt::format("{} keys", first.keys.size());
}

std::string defaults_case(const Subject& subject) {
  const llmh_finetune& method = method_of(subject);
  Schema schema;
  plugin::check(method.schema(&schema.base), "schema");
  for (const auto& [name, key] : schema.keys)
    if (key.text.empty()) throw Skipped{fmt::format("the key '{}' is required", name)};
  const Defaults config(schema);
  for (int round = 0; round < 2; ++round) {
    at("open with the defaults");
    llmh_method* opened = nullptr;
    plugin::check(method.open(&config.base, &opened), "open with the defaults");
    if (opened == nullptr) throw_error(ErrorCode::kInternal, "open reports success and gives no method");
    at("config_json");
    llmh_str json{};
    plugin::check(method.config_json(opened, &json), "config_json");
    if (json.len == 0) throw_error(ErrorCode::kInternal, "config_json is empty");
    at("file_name");
    char name[8];
    uint64_t length = 0;
    const std::string parameter = "model.layers.0.self_attn.q_proj.a_long_name_of_a_parameter";
    llmh_status* status =
        method.file_name(opened, {parameter.data(), parameter.size()}, name, sizeof name, &length);
    if (status == nullptr && length > sizeof name)
      throw_error(ErrorCode::kInternal, "file_name claims {} bytes in a buffer of {}", length, sizeof name);
    if (status != nullptr) plugin::take_error(status);
    at("close");
    method.close(opened);
  }
  return {};
}

}  // namespace

void add_finetune_cases(const Subject& subject, Cases& cases) {
  cases.push_back({"finetune.schema", [&] { return schema_case(subject); }});
  cases.push_back({"finetune.defaults", [&] { return defaults_case(subject); }});
}

}  // namespace llmhost::check
