#include "engine/model_settings.h"

#include <fmt/core.h>

#include <algorithm>

#include "core/error.h"
#include "core/file.h"

namespace llmhost::engine {
namespace {

constexpr size_t kMaxTemplateBytes = size_t{4} << 20;

}  // namespace

std::unique_ptr<plugin::Registry> open_registry(const Settings& settings) {
  plugin::RegistryOptions options;
  options.plugin_path = settings.get_list("plugins.path");
  options.allow_insecure = settings.get_bool("plugins.allow_insecure");
  options.arch_path = settings.get_list("archs.path");
  return std::make_unique<plugin::Registry>(options);
}

model::LoadOptions load_options(const Settings& settings) {
  return {settings.get_string("model.arch"), settings.get_bool("model.best_effort")};
}

std::filesystem::path tokenizer_path(const std::filesystem::path& model) {
  if (model.extension() == ".safetensors") return model.has_parent_path() ? model.parent_path() : ".";
  return model;
}

std::optional<text::ChatTemplateSource> find_chat_template(const model::Checkpoint& checkpoint,
                                                           const Settings& settings) {
  const std::string& file = settings.get_string("model.chat_template");
  if (!file.empty()) return text::ChatTemplateSource{read_file(file, kMaxTemplateBytes), file};
  return text::find_chat_template(checkpoint);
}

std::vector<int32_t> stop_tokens(const text::Tokenizer& tokenizer, const model::Checkpoint& checkpoint) {
  std::vector<int32_t> tokens = tokenizer.special_ids().stop;
  for (const int64_t id : checkpoint.generation_config().eos_token_ids)
    if (id <= INT32_MAX) tokens.push_back(static_cast<int32_t>(id));
  std::sort(tokens.begin(), tokens.end());
  tokens.erase(std::unique(tokens.begin(), tokens.end()), tokens.end());
  return tokens;
}

RunnerOptions runner_options(const Settings& settings, RunUse use) {
  RunnerOptions options;
  options.max_tokens = static_cast<int32_t>(settings.get_int("engine.batch_tokens"));
  options.max_sequences = static_cast<int32_t>(settings.get_int("engine.sequences"));
  options.max_outputs = options.max_sequences;
  options.kv_dtype = kv_dtype(settings, use);
  if (!settings.get_string("model.adapter").empty())
    options.max_adapter_rank = static_cast<int32_t>(settings.get_int("engine.adapter_rank"));
  return options;
}

RunnerOptions generation_limits(const Settings& settings, const llmh_model_info& info) {
  RunnerOptions options = runner_options(settings, RunUse::kGeneration);
  const int64_t asked = settings.get_int("engine.context");
  if (asked > info.context_length)
    throw UsageError(
        fmt::format("engine.context is {}, the model can attend to {} tokens", asked, info.context_length));
  options.max_context = asked > 0 ? asked : std::min(info.context_length, kDefaultContext);
  return options;
}

}  // namespace llmhost::engine
