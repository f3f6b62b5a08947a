// A golden model whose graph is run as it is, or changed, on the CPU backend.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engine/model_stack.h"
#include "goldens/golden_case.h"
#include "model/loader.h"
#include "plugin/registry.h"

namespace llmhost::mutation {

class Trial {
 public:
  Trial(const std::string& golden_case, const plugin::Registry& registry, const engine::Device& device);

  const test::GoldenCase& golden() const { return golden_; }
  const model::LoadedModel& model() const { return *model_; }
  // Of the unchanged graph to the case's logits, as a part of the tolerance.
  double error() const { return error_; }

  struct Outcome {
    bool killed = false;
    double difference = 0;  // to the unchanged graph's logits, as a part of the tolerance
  };
  // Stops at the first prompt whose logits leave the tolerance of the case. Throws Error for a graph that
  // cannot be run.
  Outcome run(const graph::Graph& graph) const;

 private:
  std::vector<std::vector<float>> logits(const graph::Graph& graph, bool stop_when_wrong) const;

  test::GoldenCase golden_;
  std::unique_ptr<model::LoadedModel> model_;
  const engine::Device& device_;
  std::vector<std::vector<float>> unchanged_;  // by prompt
  double error_ = 0;
};

}  // namespace llmhost::mutation
