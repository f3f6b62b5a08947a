// Logits and greedy tokens of every golden case against transformers. The tolerance is the case's own: in f32
// 0.001 of the logits' standard deviation, far above f32 rounding and far below the effect of any forgotten
// feature; with rounded activations what the reference itself loses by such rounding.
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

// Mean over the rows of the Kullback-Leibler divergence, expected to actual.
double mean_divergence(const std::vector<float>& actual, const std::vector<float>& expected, size_t vocab) {
  double total = 0;
  for (size_t row = 0; row < expected.size(); row += vocab) {
    const auto log_sum = [&](const std::vector<float>& logits) {
      const double most = *std::max_element(logits.begin() + row, logits.begin() + row + vocab);
      double sum = 0;
      for (size_t i = row; i < row + vocab; ++i) sum += std::exp(static_cast<double>(logits[i]) - most);
      return most + std::log(sum);
    };
    const double p_sum = log_sum(expected);
    const double q_sum = log_sum(actual);
    for (size_t i = row; i < row + vocab; ++i) {
      const double log_p = static_cast<double>(expected[i]) - p_sum;
      total += std::exp(log_p) * (log_p - (static_cast<double>(actual[i]) - q_sum));
    }
  }
  return total / static_cast<double>(expected.size() / vocab);
}

void check_case(const std::string& name, const RunShape& shape) {
  const GoldenCase golden = load_golden_case(name);
  const Tolerance& allowed = shape.precision == "f32" ? golden.f32 : *golden.rounded;
  std::vector<std::vector<int32_t>> prompts;
  for (const GoldenPrompt& prompt : golden.prompts) prompts.push_back(prompt.ids);
  const auto actual = run_prompts(golden.model, prompts, 16, shape);
  for (size_t i = 0; i < actual.size(); ++i) {
    CAPTURE(name);
    CAPTURE(i);
    REQUIRE(actual[i].logits.size() == golden.prompts[i].logits.size());
    const std::vector<float>& expected = golden.prompts[i].logits;
    const double difference = largest_difference(actual[i].logits, expected);
    MESSAGE(name << " prompt " << i << ": max error " << difference << ", allowed " << allowed.max_abs);
    CHECK(difference <= allowed.max_abs);
    if (allowed.mean_kl > 0) {
      const size_t vocab = expected.size() / golden.prompts[i].ids.size();
      CHECK(mean_divergence(actual[i].logits, expected, vocab) <= allowed.mean_kl);
    }
    if (golden.prompts[i].check_tokens) check_tokens(actual[i].tokens, golden.prompts[i], allowed.max_abs);
  }
}

}  // namespace

TEST_CASE("golden cases on the CPU backend") {
  for (const std::string& name : golden_case_names()) check_case(name, {});
}

TEST_CASE("golden cases with activations rounded as the CPU backend likes them") {
  for (const std::string& name : golden_case_names())
    if (load_golden_case(name).rounded) check_case(name, {.precision = "native"});
}

TEST_CASE("golden cases on the reference backend") {
  // The evaluator is slow; one case for each way a graph can differ.
  for (const char* name : {"llama-bias", "llama-gqa", "llama-tied", "llama-rope-llama3", "gguf-q4_k"})
    check_case(name, {.backend = "reference"});
}

}  // namespace llmhost::test
