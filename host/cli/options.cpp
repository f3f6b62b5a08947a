#include "cli/options.h"

#include <fmt/ranges.h>

#include <CLI/CLI.hpp>

#include "core/config.h"
#include "core/error.h"

namespace llmhost::cli {
namespace {

// "--threads" of "-t,--threads".
std::string long_name(const std::string& names) {
  return names.substr(names.rfind(',') + 1);
}

const ConfigKey& key_of(const ConfigSchema& schema, const std::string& path) {
  const ConfigKey* key = schema.find(path);
  if (key == nullptr) throw_error(ErrorCode::kInternal, "no setting '{}'", path);
  return *key;
}

}  // namespace

void Options::positional(const std::string& name, std::string& target, const std::string& doc,
                         bool required) {
  app_.add_option(name, target, doc)->required(required);
}

void Options::positional_list(const std::string& name, std::vector<std::string>& target,
                              const std::string& doc) {
  app_.add_option(name, target, doc);
}

void Options::flag(const std::string& names, bool& target, const std::string& doc) {
  app_.add_flag(names, target, doc);
}

void Options::value(const std::string& names, std::string& target, const std::string& doc) {
  app_.add_option(names, target, doc)->capture_default_str();
}

void Options::value(const std::string& names, int64_t& target, const std::string& doc) {
  app_.add_option(names, target, doc)->capture_default_str();
}

void Options::list(const std::string& names, std::vector<std::string>& target, const std::string& doc) {
  // One value each time: the words that follow are the command's own.
  app_.add_option(names, target, doc)->take_all()->allow_extra_args(false);
}

void Options::setting(const std::string& names, const std::string& path) {
  const ConfigKey& key = key_of(schema_, path);
  const std::string option = long_name(names);
  // This object is gone by the time the command line is parsed; what it refers to is not.
  const auto take = [&settings = settings_, path, option](const std::vector<std::string>& values) {
    settings.push_back({path, fmt::format("{}", fmt::join(values, ",")), option});
  };
  // A list may also be given by repeating the option; of anything else one value is taken.
  const bool is_list = key.type == ConfigType::kList;
  app_.add_option_function<std::vector<std::string>>(names, take, key.doc + " [" + path + "]")
      ->expected(1)
      ->allow_extra_args(false)
      ->multi_option_policy(is_list ? CLI::MultiOptionPolicy::TakeAll : CLI::MultiOptionPolicy::Throw)
      ->default_str(to_string(key.fallback));
}

void Options::setting_flag(const std::string& names, const std::string& path) {
  const std::string option = long_name(names);
  const auto take = [&settings = settings_, path, option](int64_t) {
    settings.push_back({path, "true", option});
  };
  app_.add_flag_function(names, take, key_of(schema_, path).doc + " [" + path + "]");
}

}  // namespace llmhost::cli
