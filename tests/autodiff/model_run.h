// Runs a training graph of a whole model on the reference evaluator, with the checkpoint's weights.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "graph/autodiff/autodiff.h"
#include "model/loader.h"

namespace llmhost::test {

// Rows of tokens with labels (-100: none), each its own length.
struct LabelledRows {
  std::vector<std::vector<int32_t>> ids;
  std::vector<std::vector<int32_t>> labels;

  int64_t targets() const;  // labels that a position predicts
};

struct ModelGradients {
  double loss = 0;                                    // mean over the targets
  std::map<std::string, std::vector<float>> by_name;  // by parameter, of the mean
};

using ParameterValues = std::map<std::string, std::vector<float>>;

// The weights of these names.
ParameterValues stored_values(const model::LoadedModel& model, std::span<const std::string> names);

// Parameters have the values given, else those of the weights of their names.
ModelGradients run_model(const graph::TrainingGraph& training, const model::LoadedModel& model,
                         const LabelledRows& rows, const ParameterValues& values = {});
// The loss alone, of a graph that need not have gradients.
double loss_of_model(const graph::Graph& with_loss, const model::LoadedModel& model, const LabelledRows& rows,
                     const ParameterValues& values = {});

}  // namespace llmhost::test
