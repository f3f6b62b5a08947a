// What the tests of engines on the fake model ask for.
#pragma once

#include <cstdint>
#include <random>
#include <utility>
#include <vector>

#include "engine/request.h"
#include "engine/runner.h"

namespace llmhost::test {

// Four sequences of up to 64 positions, in pages of four: small enough for pages to run out.
inline engine::RunnerOptions small_runner(int32_t max_tokens, int32_t max_outputs) {
  engine::RunnerOptions options;
  options.max_tokens = max_tokens;
  options.max_sequences = 4;
  options.max_outputs = max_outputs;
  options.max_context = 64;
  options.page_tokens = 4;
  return options;
}

inline std::vector<int32_t> random_prompt(std::mt19937& random, size_t n) {
  std::vector<int32_t> prompt(n);
  for (int32_t& token : prompt) token = static_cast<int32_t>(random() % 90);
  return prompt;
}

// Of a fixed seed; greedy unless there is a temperature.
inline engine::Request request_of(std::vector<int32_t> prompt, int64_t max_tokens, float temperature = 0) {
  engine::Request request;
  request.prompt = std::move(prompt);
  request.max_tokens = max_tokens;
  request.sampling.temperature = temperature;
  request.sampling.seed = 5;
  return request;
}

}  // namespace llmhost::test
