// What a subcommand declares about its command line. A thin face over the CLI library, which is compiled
// once.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace llmhost {
class ConfigSchema;
struct ConfigKey;
}  // namespace llmhost

namespace CLI {
class App;
}

namespace llmhost::cli {

// One value given on the command line for a key of the settings.
struct SettingArgument {
  std::string path;  // "engine.threads"
  std::string value;
  std::string option;  // "--threads", for errors
};

// The targets must outlive the parse. Names as in "-t,--threads".
class Options {
 public:
  Options(CLI::App& app, std::vector<SettingArgument>& settings, const ConfigSchema& schema)
      : app_(app), settings_(settings), schema_(schema) {}

  void positional(const std::string& name, std::string& target, const std::string& doc, bool required = true);
  void positional_list(const std::string& name, std::vector<std::string>& target, const std::string& doc);
  void flag(const std::string& names, bool& target, const std::string& doc);
  void value(const std::string& names, std::string& target, const std::string& doc);
  void value(const std::string& names, int64_t& target, const std::string& doc);
  void list(const std::string& names, std::vector<std::string>& target, const std::string& doc);
  // The option sets a key of the settings, whose schema checks the value and documents it.
  void setting(const std::string& names, const std::string& path);
  void setting_flag(const std::string& names, const std::string& path);

 private:
  CLI::App& app_;
  std::vector<SettingArgument>& settings_;
  const ConfigSchema& schema_;
};

}  // namespace llmhost::cli
