// What a configuration must not say, whatever its keys are: names that are given twice, files that are not
// there.
#include <fmt/format.h>

#include <map>
#include <system_error>
#include <tuple>

#include "core/error.h"
#include "core/names.h"
#include "serve/models/configuration.h"

namespace llmhost::serve {
namespace {

// What commands that run one prompt have and a server has not: told, not ignored.
void check_settings(const Settings& settings) {
  for (const auto& [key, off, instead] :
       {std::tuple("engine.speculation.mode", "off", "a server does not guess ahead"),
        std::tuple("model.adapter", "", "requests name their adapter, of a folder in adapters.roots")})
    if (settings.get_string(key) != off)
      throw UsageError(fmt::format("{}: {} is {}; {}", settings.at(key).where, key,
                                   quote_name(settings.get_string(key)), instead));
}

}  // namespace

void check_configuration(const ServeConfig& config) {
  check_settings(config.settings);
  for (const ModelConfig& model : config.models) check_settings(model.settings);
  if (config.models.empty() && config.pool.roots.empty())
    throw UsageError("serve: there is no model; name one with --model, or a file with --config");
  std::map<std::string, std::string> places;
  for (const ModelConfig& model : config.models) {
    std::vector<std::string> own = model.aliases;
    own.push_back(model.id);
    for (const std::string& name : own) {
      const auto [first, is_new] = places.emplace(name, model.where);
      if (!is_new)
        throw UsageError(fmt::format("{}: two models have the name {}; the other one is at {}", model.where,
                                     quote_name(name), first->second));
    }
  }
}

void check_files(const ServeConfig& config) {
  const auto check = [](const std::string& where, std::string_view what, const std::filesystem::path& path) {
    std::error_code ec;
    if (!std::filesystem::exists(path, ec))
      throw UsageError(fmt::format("{}: {} {} does not exist", where, what, quote_name(path.string())));
  };
  for (const ModelConfig& model : config.models) {
    check(model.where, "the model's path", model.path);
    for (const std::filesystem::path& root : model.adapters.roots)
      check(model.where, "the folder of adapters", root);
  }
  for (const std::filesystem::path& root : config.pool.roots)
    check(config.settings.at("pool.roots").where, "the folder of models", root);
  if (!config.keys_file.empty())
    check(config.settings.at("access.keys_file").where, "the file of keys", config.keys_file);
}

}  // namespace llmhost::serve
