// Logits and greedy tokens of every golden case against transformers. The tolerance is the case's own: 0.001
// of the logits' standard deviation, far above f32 rounding and far below the effect of any forgotten
// feature.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "goldens/golden_case.h"

namespace llmhost::test {
namespace {

double largest_difference(const std::vector<float>& actual, const std::vector<float>& expected) {
  double largest = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    const double difference = std::abs(static_cast<double>(actual[i]) - static_cast<double>(expected[i]));
    if (!(difference <= largest)) largest = difference;  // keeps a NaN
  }
  return largest;
}

// Tokens agree up to the first step at which the two best logits are nearer than twice the tolerance.
void check_tokens(const std::vector<int32_t>& actual, const GoldenPrompt& expected, double tolerance) {
  REQUIRE(actual.size() == expected.tokens.size());
  for (size_t step = 0; step < actual.size(); ++step) {
    if (actual[step] == expected.tokens[step]) continue;
    CHECK_MESSAGE(expected.step_margin[step] < 2 * tolerance, "token ", step, " is ", actual[step],
                  ", expected ", expected.tokens[step], " with a margin of ", expected.step_margin[step]);
    return;
  }
}

void check_case(const std::string& name, const RunShape& shape) {
  const GoldenCase golden = load_golden_case(name);
  std::vector<std::vector<int32_t>> prompts;
  for (const GoldenPrompt& prompt : golden.prompts) prompts.push_back(prompt.ids);
  const auto actual = run_prompts(golden.model, prompts, 16, shape);
  for (size_t i = 0; i < actual.size(); ++i) {
    CAPTURE(name);
    CAPTURE(i);
    REQUIRE(actual[i].logits.size() == golden.prompts[i].logits.size());
    const double difference = largest_difference(actual[i].logits, golden.prompts[i].logits);
    MESSAGE(name << " prompt " << i << ": max error " << difference << ", allowed " << golden.f32_tolerance);
    CHECK(difference <= golden.f32_tolerance);
    if (golden.prompts[i].check_tokens)
      check_tokens(actual[i].tokens, golden.prompts[i], golden.f32_tolerance);
  }
}

}  // namespace

TEST_CASE("golden cases on the CPU backend") {
  for (const std::string& name : golden_case_names()) check_case(name, {});
}

TEST_CASE("golden cases on the reference backend") {
  // The evaluator is slow; one case for each way a graph can differ.
  for (const char* name : {"llama-bias", "llama-gqa", "llama-tied", "llama-rope-llama3", "gguf-q4_k"})
    check_case(name, {.backend = "reference"});
}

}  // namespace llmhost::test
