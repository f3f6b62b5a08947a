#include "cli/model_options.h"

#include <fmt/core.h>

#include <algorithm>

#include "cli/support.h"
#include "core/error.h"

namespace llmhost::cli {

void declare_model_options(Options& options) {
  options.setting("-t,--threads", "engine.threads");
  options.setting("--batch-tokens", "engine.batch_tokens");
  options.setting("--kv-dtype", "engine.kv_dtype");
  options.setting("--precision", "engine.precision");
  options.setting("--backend", "backend.name");
  options.setting("--backend-option", "backend.options");
  options.setting("--arch", "model.arch");
  options.setting_flag("--best-effort", "model.best_effort");
}

OpenedModel::OpenedModel(const std::string& path, const Settings& settings, engine::RunUse use,
                         const engine::RunnerOptions& limits)
    : OpenedModel(path, settings, use, [&](const model::LoadedModel&) { return limits; }) {}

OpenedModel::OpenedModel(const std::string& path, const Settings& settings, engine::RunUse use,
                         const std::function<engine::RunnerOptions(const model::LoadedModel&)>& limits)
    : registry_(open_registry(settings)),
      model_(model::load_model(path, *registry_, load_options(settings))),
      host_(std::make_unique<engine::HostDevice>(*registry_, settings, use)),
      stack_(std::make_unique<engine::ModelStack>(*model_, host_->device(), limits(*model_))) {}

engine::RunnerOptions runner_options(const Settings& settings, engine::RunUse use) {
  engine::RunnerOptions options;
  options.max_tokens = static_cast<int32_t>(settings.get_int("engine.batch_tokens"));
  options.max_sequences = static_cast<int32_t>(settings.get_int("engine.sequences"));
  options.max_outputs = options.max_sequences;
  options.kv_dtype = engine::kv_dtype(settings, use);
  return options;
}

engine::RunnerOptions generation_limits(const Settings& settings, const llmh_model_info& info) {
  engine::RunnerOptions options = runner_options(settings, engine::RunUse::kGeneration);
  const int64_t asked = settings.get_int("engine.context");
  if (asked > info.context_length)
    throw UsageError(
        fmt::format("engine.context is {}, the model can attend to {} tokens", asked, info.context_length));
  options.max_context = asked > 0 ? asked : std::min(info.context_length, kDefaultContext);
  return options;
}

}  // namespace llmhost::cli
