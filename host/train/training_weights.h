// The frozen weights of a model on a device, prepared once for all graphs that read them. Private to the
// layer.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "engine/device.h"
#include "graph/graph.h"
#include "model/loader.h"
#include "train/quantised_base.h"

namespace llmhost::train {

// Model, device and base must outlive it. [control]
class TrainingWeights {
 public:
  TrainingWeights(const model::LoadedModel& model, const engine::Device& device, const QuantisedBase& base)
      : model_(model), device_(device), base_(base) {}
  ~TrainingWeights();
  TrainingWeights(const TrainingWeights&) = delete;
  TrainingWeights& operator=(const TrainingWeights&) = delete;

  // [n_tensors] of the graph; those that no graph had before are prepared now.
  std::vector<llmh_weight*> of(const graph::Graph& graph);

  // What the weights of a graph will take, read in place or copied.
  static uint64_t bytes(const model::LoadedModel& model, const engine::Device& device,
                        const QuantisedBase& base, const graph::Graph& graph);

 private:
  struct Prepared {
    uint32_t uses = 0;
    llmh_weight* weight = nullptr;
  };
  llmh_weight* prepare(const model::GraphWeight& weight);

  const model::LoadedModel& model_;
  const engine::Device& device_;
  const QuantisedBase& base_;
  std::multimap<std::string, Prepared> prepared_;
  std::vector<std::vector<std::byte>> copies_;  // what the device uses in place and the mapping does not hold
};

}  // namespace llmhost::train
