// What a run leaves behind: an adapter folder as PEFT reads it, or a whole model.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "model/loader.h"
#include "train/method.h"
#include "train/training_stack.h"

namespace llmhost::train {

struct OutputArgs {
  std::filesystem::path folder;
  const model::LoadedModel& model;
  Method& method;
  TrainingStack& stack;                              // values; logits for golden prompts
  std::string job_hash;                              // Job::hash()
  std::string data_hash;                             // of the data sets
  std::vector<std::vector<int32_t>> golden_prompts;  // tokens
  const plugin::Registry& registry;                  // of the plugins that know the model's names
};

// Nothing in the folder looks finished before all of it is. Throws Error when a value is not finite.
void write_output(const OutputArgs& args);

}  // namespace llmhost::train
