#include "cli/model_options.h"

#include "cli/support.h"

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
      stack_(std::make_unique<engine::ModelStack>(*model_, host_->device(), limits(*model_))) {
  const std::string& folder = settings.get_string("model.adapter");
  if (!folder.empty()) adapter_ = engine::AdapterHost(*stack_, *registry_).load(folder);
}

}  // namespace llmhost::cli
