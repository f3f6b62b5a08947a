// One golden case: a tiny model and what an independent implementation computed for it. And a way to run it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "core/config.h"

namespace llmhost::test {

struct GoldenPrompt {
  std::vector<int32_t> ids;
  std::vector<float> logits;       // [T, V]
  std::vector<int32_t> tokens;     // greedy continuation
  std::vector<float> step_margin;  // how far the best logit is ahead of the second best
  bool check_tokens = true;
};

// How far results may be from the expected ones; expected.json says how the limits were derived.
struct Tolerance {
  double max_abs = 0;  // of the logits
  double mean_kl = 0;  // 0: not limited
};

struct GoldenCase {
  std::string name;
  std::filesystem::path model;
  Tolerance f32;  // everything in f32
  // Activations in 8 bits (blocks of 32) where weights are quantised, in half precision elsewhere. Not every
  // case was measured so.
  std::optional<Tolerance> rounded;
  std::vector<GoldenPrompt> prompts;
};

// Every case of tests/data/goldens, sorted by name.
std::vector<std::string> golden_case_names();
GoldenCase load_golden_case(const std::string& name);

// What the engine gives for one prompt.
struct ActualOutput {
  std::vector<float> logits;  // [T, V]
  std::vector<int32_t> tokens;
};

// How a case is run; whatever is chosen, the numbers must be the same bits.
struct RunShape {
  int32_t batch_tokens = 512;
  int32_t prefill_chunk = 0;  // 0: whole prompts
  int32_t sequences = 1;      // that run together
  int32_t threads = 2;
  std::string backend = "cpu";
  std::string precision = "f32";
};

// Runs the prompts (each may occur several times) greedily for `generate` tokens, exact state.
std::vector<ActualOutput> run_prompts(const std::filesystem::path& model,
                                      const std::vector<std::vector<int32_t>>& prompts, int64_t generate,
                                      const RunShape& shape);

}  // namespace llmhost::test
