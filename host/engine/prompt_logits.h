// What a model says to a few prompts: for comparing models, exact and simple.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "engine/adapter.h"
#include "engine/device.h"
#include "engine/model_stack.h"
#include "model/loader.h"

namespace llmhost::engine {

struct PromptRun {
  std::vector<float> logits;    // [T, V] of the prompt
  std::vector<int32_t> tokens;  // the greedy continuation, `n_tokens` of them
};

// One after the other. Throws Error when a step fails.
std::vector<PromptRun> run_prompts(ModelRunner& runner, std::span<const std::vector<int32_t>> prompts,
                                   int64_t n_tokens, const std::shared_ptr<const Adapter>& adapter = nullptr);

// Limits of a runner for that; f32 state.
RunnerOptions limits_for_prompts(std::span<const std::vector<int32_t>> prompts, int64_t n_tokens);

}  // namespace llmhost::engine
