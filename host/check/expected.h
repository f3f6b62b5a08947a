// What a reference implementation computed for a model: a safetensors file with, for each prompt N = 0, 1, …
//   input_ids_N       i32 [T] or [1,T]
//   logits_N          f32 [T,V] or [1,T,V], after each token of the prompt
//   tokens_N          i32 [G], optional: the greedy continuation
//   step_margin_N     f32 [G], optional: how far the best logit is ahead of the second at each of its steps
//   layer_output_N.L  f32 [T,D] or [1,T,D], optional: the hidden state after layer L = 0, 1, …
// and, beside it and optional, expected.json: {"tolerance": {"f32": {"max_abs": X}}, "prompts":
// [{"check_tokens": B}, …]}. Without a tolerance it is kRelativeTolerance of the logits' standard deviation.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace llmhost::check {

// Far above the rounding of f32, far below what any forgotten feature does.
inline constexpr double kRelativeTolerance = 1e-3;

struct ExpectedPrompt {
  std::vector<int32_t> ids;
  std::vector<float> logits;                     // [T, V]
  std::vector<int32_t> tokens;                   // [G], may be empty
  std::vector<float> step_margin;                // [G], may be empty
  std::map<int64_t, std::vector<float>> layers;  // [T, D] by layer
  bool check_tokens = true;
};

struct Expected {
  std::vector<ExpectedPrompt> prompts;
  double tolerance = 0;
};

Expected read_expected(const std::filesystem::path& path);

double standard_deviation(const std::vector<float>& values);

struct Difference {
  double largest = 0;  // NaN where a value is
  size_t index = 0;    // where
};
// Of as many values as both have.
Difference largest_difference(const std::vector<float>& actual, const std::vector<float>& expected);

}  // namespace llmhost::check
