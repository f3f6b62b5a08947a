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

// Parameters named like weights start as these.
ModelGradients run_model(const graph::TrainingGraph& training, const model::LoadedModel& model,
                         const LabelledRows& rows, uint64_t dropout_seed = 0);

}  // namespace llmhost::test
