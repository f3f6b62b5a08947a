// The options and the opening that all commands share which run a model.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "cli/options.h"
#include "core/config.h"
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
  int32_t n_threads() const { return host_->threads().n_threads(); }

 private:
  std::unique_ptr<plugin::Registry> registry_;
  std::unique_ptr<model::LoadedModel> model_;
  std::unique_ptr<engine::HostDevice> host_;
  std::unique_ptr<engine::ModelStack> stack_;
};

// Settings engine.* as the runner wants them; `use` decides what kv_dtype "auto" means.
engine::RunnerOptions runner_options(const Settings& settings, engine::RunUse use);

// The same with the context of a generating command: engine.context, by default what the model can attend to
// but at most kDefaultContext. Throws UsageError when more is asked for than the model can attend to.
inline constexpr int64_t kDefaultContext = 4096;
engine::RunnerOptions generation_limits(const Settings& settings, const llmh_model_info& info);

}  // namespace llmhost::cli
