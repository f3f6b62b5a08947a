// The small real model of tests/data/models/stories260K on the CPU plugin, with prompts of its vocabulary.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "core/config.h"
#include "engine/engine.h"
#include "engine/model_stack.h"
#include "engine/settings.h"
#include "model/loader.h"
#include "support/built_plugins.h"
#include "support/paths.h"

namespace llmhost::test {

class StoryModel {
 public:
  explicit StoryModel(const engine::RunnerOptions& options, int32_t threads = 1, const char* file = "",
                      const std::string& folder = "models/stories260K", const char* precision = "auto") {
    Settings settings(engine::settings_schema());
    settings.set("engine.threads", std::to_string(threads));
    settings.set("backend.name", "cpu");
    settings.set("engine.precision", precision);
    model_ = model::load_model(test::data(folder) / file, built_plugins());
    host_ = std::make_unique<engine::HostDevice>(built_plugins(), settings, engine::RunUse::kGeneration);
    stack_ = std::make_unique<engine::ModelStack>(*model_, host_->device(), options);
  }

  engine::ModelRunner& runner() { return stack_->runner(); }

 private:
  std::unique_ptr<model::LoadedModel> model_;
  std::unique_ptr<engine::HostDevice> host_;
  std::unique_ptr<engine::ModelStack> stack_;
};

inline engine::RunnerOptions story_options() {
  engine::RunnerOptions options;
  options.max_tokens = 128;
  options.max_sequences = 32;
  options.max_outputs = 32;
  options.max_context = 192;
  options.page_tokens = 32;
  return options;
}

// 32 prompts of 1 to 94 tokens, beginning with the model's start token.
inline std::vector<std::vector<int32_t>> story_prompts() {
  std::vector<std::vector<int32_t>> prompts;
  for (uint32_t i = 0; i < 32; ++i) {
    std::vector<int32_t> prompt = {1};
    for (uint32_t j = 0; j < 3 * i; ++j)
      prompt.push_back(static_cast<int32_t>(3 + (j * j * 31 + i * 97 + j * 7) % 500));
    prompts.push_back(std::move(prompt));
  }
  return prompts;
}

}  // namespace llmhost::test
