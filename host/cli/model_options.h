// The options and the opening that all commands share which run a model.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "cli/options.h"
#include "core/config.h"
#include "engine/adapter.h"
#include "engine/model_settings.h"
#include "engine/model_stack.h"
#include "model/loader.h"
#include "plugin/registry.h"

namespace llmhost::cli {

// --threads, --backend, --batch-tokens, --kv-dtype, --precision, --arch and the like.
void declare_model_options(Options& options);

// A model on a device, with all that it stands on.
class OpenedModel {
 public:
  OpenedModel(const std::string& path, const Settings& settings, engine::RunUse use,
              const engine::RunnerOptions& limits);
  // The limits depend on the model (its context length, say).
  OpenedModel(const std::string& path, const Settings& settings, engine::RunUse use,
              const std::function<engine::RunnerOptions(const model::LoadedModel&)>& limits);

  const plugin::Registry& registry() const { return *registry_; }
  const model::LoadedModel& model() const { return *model_; }
  const engine::Device& device() const { return host_->device(); }
  engine::ModelStack& stack() { return *stack_; }
  // Of the setting model.adapter; null when there is none.
  const std::shared_ptr<const engine::Adapter>& adapter() const { return adapter_; }
  int32_t n_threads() const { return host_->threads().n_threads(); }

 private:
  void check_golden_answers(const std::string& folder) const;

  std::unique_ptr<plugin::Registry> registry_;
  std::unique_ptr<model::LoadedModel> model_;
  std::unique_ptr<engine::HostDevice> host_;
  std::unique_ptr<engine::ModelStack> stack_;
  std::shared_ptr<const engine::Adapter> adapter_;
};

using engine::generation_limits;
using engine::kDefaultContext;
using engine::runner_options;

}  // namespace llmhost::cli
