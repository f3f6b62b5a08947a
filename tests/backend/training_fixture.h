// A graph of training ops on the CPU backend beside the reference evaluator: the same numbers within a bound,
// on every instruction set, and the same bits on any number of threads.
#pragma once

#include <map>
#include <vector>

#include "backend_fixture.h"

namespace llmhost::test {

struct TrainingCase {
  const graph::Graph& graph;
  const Model::Weights& weights;
  // The same tensors with rounded numbers, as a backend of native precision may multiply them.
  const graph::Graph& rounded_graph;
  const Model::Weights& rounded_weights;
  std::map<llmh_tensor, std::vector<float>> given;      // placeholders and parameters before the run
  std::map<llmh_tensor, std::vector<float>> rounded{};  // those that are
  std::map<llmh_tensor, std::vector<int32_t>> ids{};
  std::vector<llmh_tensor> results{};
  double tolerance = 0;  // of any element
  uint32_t precision = LLMH_PRECISION_F32;
};

void check_training_case(const TrainingCase& test, StepArrays& arrays);

// The largest magnitude of a stored weight, or 1 where it is larger.
double weight_size(llmh_dtype dtype, const std::vector<std::byte>& data);

// To the nearest bf16.
std::vector<float> rounded_to_bf16(std::vector<float> values);

}  // namespace llmhost::test
