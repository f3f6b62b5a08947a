#include "cli/model_options.h"

#include <algorithm>

#include "cli/support.h"
#include "core/error.h"
#include "engine/prompt_logits.h"
#include "engine/receipt.h"

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
  if (folder.empty()) return;
  const std::string& receipt = settings.get_string("model.receipt");
  engine::AdapterHostOptions options;
  options.checks_receipts = receipt != "ignore";
  adapter_ = engine::AdapterHost(*stack_, *registry_, options).load(folder);
  if (receipt == "golden") check_golden_answers(folder);
}

// With a stack of their own: exact, and with room for the prompts, whatever the command is for.
void OpenedModel::check_golden_answers(const std::string& folder) const {
  const auto receipt = engine::read_receipt(engine::AdapterFolder(folder));
  if (!receipt) throw_error(ErrorCode::kNotFound, "{}: has no {}", folder, engine::kReceiptFile);
  std::vector<std::vector<int32_t>> prompts;
  size_t n_tokens = 0;
  for (const engine::Receipt::Golden& golden : receipt->golden) {
    prompts.push_back(golden.prompt);
    n_tokens = std::max(n_tokens, golden.tokens.size());
  }
  engine::RunnerOptions limits = engine::limits_for_prompts(prompts, static_cast<int64_t>(n_tokens));
  limits.max_adapter_rank = stack_->runner().options().max_adapter_rank;
  engine::ModelStack stack(*model_, host_->device(), limits);
  const auto adapter = engine::AdapterHost(stack, *registry_, {.checks_receipts = false}).load(folder);
  engine::check_golden(*receipt, stack.runner(), adapter);
}

}  // namespace llmhost::cli
