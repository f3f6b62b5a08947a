// Losses and gradients of whole models against those that an independent implementation computed.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "golden_model.h"
#include "graph/autodiff/trained_weights.h"

namespace llmhost::test {
namespace {

constexpr double kTolerance = 2e-5;  // ten times what two f32 implementations differ by

double largest_difference(const std::vector<float>& a, const std::vector<float>& b) {
  REQUIRE(a.size() == b.size());
  double largest = 0;
  for (size_t i = 0; i < a.size(); ++i)
    largest = std::max(largest, std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i])));
  return largest;
}

graph::TrainingGraph full_training(const GoldenModel& golden, const graph::DifferentiateOptions& options) {
  const auto weights = golden.weights();
  const graph::Graph trained =
      graph::with_trained_weights(golden.model().graph(), std::span<const std::string>(weights));
  return graph::differentiate(graph::with_training_loss(trained), options);
}

void check_model(const std::string& name) {
  CAPTURE(name);
  GoldenModel golden(name);
  const ModelGradients actual = run_model(full_training(golden, {}), golden.model(), golden.rows());
  CHECK(std::abs(actual.loss - golden.loss()) < kTolerance);
  for (const auto& [weight, gradient] : actual.by_name) {
    const auto expected = golden.gradient(weight);
    if (expected.empty()) continue;
    CAPTURE(weight);
    CHECK(largest_difference(gradient, expected) < kTolerance);
  }
  CHECK(golden.unasked().empty());
}

TEST_CASE("gradients of all tensors: grouped-query attention and a head of its own") {
  check_model("llama");
}
TEST_CASE("gradients of all tensors: experts, which are stacked, behind a router") {
  check_model("mixtral");
}
TEST_CASE("gradients of all tensors: one projection, interleaved by head, parallel residuals") {
  check_model("gpt_neox");
}
TEST_CASE("gradients of tensors: a window shorter than the rows") {
  check_model("mistral");
}
TEST_CASE("gradients of tensors: one projection, tied head, learned positions, transposed storage") {
  check_model("falcon");
  check_model("gpt2");
}
TEST_CASE("gradients of tensors: biases, scaled embeddings, weights stored less one") {
  check_model("phi");
  check_model("gemma");
  check_model("qwen2");
}

}  // namespace
}  // namespace llmhost::test
