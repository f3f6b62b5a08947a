// Settings with a schema: typed keys with defaults, ranges and a sentence of documentation each, read from
// (strongest first) the command line, the environment (LLMHOST_<SECTION>_<KEY>), a YAML file, the defaults.
// Nothing unknown is ignored: a typo names the file, line, column and the nearest key. A schema is built once
// and then only read. [control]
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <limits>
#include <map>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace llmhost {

struct YamlNode;

using ConfigValue = std::variant<bool, int64_t, double, std::string, std::vector<std::string>>;

enum class ConfigType { kBool, kInt, kFloat, kString, kEnum, kList };

struct ConfigKey {
  std::string path;  // "section.key", lower case
  ConfigType type = ConfigType::kString;
  ConfigValue fallback;
  std::string doc;
  std::vector<std::string> choices;                       // kEnum
  int64_t min_int = std::numeric_limits<int64_t>::min();  // kInt
  int64_t max_int = std::numeric_limits<int64_t>::max();
  double min_float = std::numeric_limits<double>::lowest();  // kFloat
  double max_float = std::numeric_limits<double>::max();

  // "an integer from 1 to 64": what an error says is wanted.
  std::string expectation() const;
  // LLMHOST_SECTION_KEY
  std::string environment_name() const;
};

class ConfigSchema {
 public:
  ConfigSchema& add_bool(std::string path, bool fallback, std::string doc);
  ConfigSchema& add_int(std::string path, int64_t fallback, int64_t min, int64_t max, std::string doc);
  ConfigSchema& add_float(std::string path, double fallback, double min, double max, std::string doc);
  ConfigSchema& add_string(std::string path, std::string fallback, std::string doc);
  ConfigSchema& add_enum(std::string path, std::vector<std::string> choices, std::string fallback,
                         std::string doc);
  ConfigSchema& add_list(std::string path, std::vector<std::string> fallback, std::string doc);
  // A key of another schema, as it is there.
  ConfigSchema& add_key(ConfigKey key) { return add(std::move(key)); }
  // Every key of `other` under "prefix."; how a plugin's own keys come in.
  ConfigSchema& add_section(const std::string& prefix, const ConfigSchema& other);

  const ConfigKey* find(std::string_view path) const;
  bool is_section(std::string_view path) const;
  const std::vector<ConfigKey>& keys() const { return keys_; }
  // The names that may stand directly in `section` ("" is the top).
  std::vector<std::string> names_in(std::string_view section) const;
  // "unknown key 'engine.max_bach'; did you mean 'engine.max_batch'?"
  std::string unknown_key(std::string_view path) const;

 private:
  ConfigSchema& add(ConfigKey key);

  std::vector<ConfigKey> keys_;
  std::map<std::string, size_t, std::less<>> index_;
  std::map<std::string, size_t, std::less<>>
      environment_;  // environment name -> index, to refuse two keys with one name
};

// From the weakest to the strongest.
enum class SettingSource { kDefault, kFile, kEnvironment, kCommandLine };

struct Setting {
  ConfigValue value;
  SettingSource source = SettingSource::kDefault;
  std::string where =
      "default";  // "default", "run.yaml:3:5", "$LLMHOST_ENGINE_THREADS", "--set engine.threads"
};

// The merged settings. The loads may come in any order: a weaker source never replaces a stronger one. All
// throw UsageError.
class Settings {
 public:
  explicit Settings(ConfigSchema schema);

  void load_file(const std::filesystem::path& path);
  void load_text(std::string_view yaml, std::string_view source);
  // A map of a file that was parsed already.
  void load_node(const YamlNode& map, std::string_view source);
  // The values that `other` has from a file, of keys that are here too, as if they were read now.
  void take_file_values(const Settings& other);
  // Takes the variables that belong to the schema's keys; one that begins like a section's keys but is none
  // is refused. `environment` is a null-terminated array of NAME=VALUE; null stands for the process's own.
  void load_environment(const char* const* environment = nullptr);
  // One value from the command line; a list is separated by commas. `option` names it in errors
  // ("--threads").
  void set(std::string_view path, std::string_view text, std::string_view option = {});
  // "engine.threads=4", as --set takes it.
  void set_assignment(std::string_view assignment);

  // Asking for a key or a type that the schema has not is a fault of the program: kInternal.
  bool get_bool(std::string_view path) const;
  int64_t get_int(std::string_view path) const;
  double get_float(std::string_view path) const;
  const std::string& get_string(std::string_view path) const;  // kString and kEnum
  const std::vector<std::string>& get_list(std::string_view path) const;
  const Setting& at(std::string_view path) const;
  bool is_default(std::string_view path) const { return at(path).source == SettingSource::kDefault; }

  const ConfigSchema& schema() const { return schema_; }

 private:
  void load_map(const YamlNode& map, const std::string& section, std::string_view source);
  void put(const ConfigKey& key, ConfigValue value, SettingSource source, std::string where);

  ConfigSchema schema_;
  std::map<std::string, Setting, std::less<>> settings_;
};

// A value as one would write it in YAML, for listings.
std::string to_string(const ConfigValue& value);
std::string_view to_string(SettingSource source);

// The schema as a Markdown table: key, type and range, default, meaning.
std::string describe(const ConfigSchema& schema);

}  // namespace llmhost
