// The base models of the fine-tuning goldens, and the gradients of their own tensors.
#pragma once

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "model/checkpoint.h"
#include "model/loader.h"
#include "model_run.h"

namespace llmhost::test {

class GoldenModel {
 public:
  explicit GoldenModel(const std::string& name);

  const model::LoadedModel& model() const { return *model_; }
  const LabelledRows& rows() const { return rows_; }
  double loss() const { return loss_; }
  // All weights of the graph.
  std::vector<std::string> weights() const;
  // The expected gradient of a weight as the architecture has it, f32; empty where there is none. What was
  // asked for is taken off unasked().
  std::vector<float> gradient(const std::string& weight);
  const std::set<std::string>& unasked() const { return unasked_; }

 private:
  std::vector<int32_t> row_of(const char* tensor, size_t row) const;

  std::unique_ptr<model::LoadedModel> model_;
  model::Checkpoint golden_;
  LabelledRows rows_;
  double loss_ = 0;
  std::set<std::string> unasked_;  // tensors with gradients
};

}  // namespace llmhost::test
