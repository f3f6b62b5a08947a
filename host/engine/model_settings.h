// From settings to what a model is opened with: plugins, loader options, limits of the runner. What all
// commands and the server share.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <vector>

#include "core/config.h"
#include "engine/model_stack.h"
#include "engine/runner.h"
#include "model/loader.h"
#include "plugin/registry.h"
#include "text/chat_template_source.h"
#include "text/tokenizer.h"

namespace llmhost::engine {

// Settings plugins.* and archs.*.
std::unique_ptr<plugin::Registry> open_registry(const Settings& settings);
// Settings model.arch and model.best_effort.
model::LoadOptions load_options(const Settings& settings);

// Where the tokenizer of a model is: a lone weights file has it beside it.
std::filesystem::path tokenizer_path(const std::filesystem::path& model);

// The file of model.chat_template, else the model's own template, if it has one.
std::optional<text::ChatTemplateSource> find_chat_template(const model::Checkpoint& checkpoint,
                                                           const Settings& settings);

// Ids that end an answer: the tokenizer's and those of the model's generation defaults, ascending.
std::vector<int32_t> stop_tokens(const text::Tokenizer& tokenizer, const model::Checkpoint& checkpoint);

// Settings engine.* as the runner wants them; `use` decides what kv_dtype "auto" means.
RunnerOptions runner_options(const Settings& settings, RunUse use);

// The same with the context of generation: engine.context, by default what the model can attend to but at
// most kDefaultContext. Throws UsageError when more is asked for than the model can attend to.
inline constexpr int64_t kDefaultContext = 4096;
RunnerOptions generation_limits(const Settings& settings, const llmh_model_info& info);

}  // namespace llmhost::engine
