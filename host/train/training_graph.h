// A graph of training as a device runs it, and what its largest step takes. Private to the layer.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/device.h"
#include "graph/autodiff/autodiff.h"
#include "graph/graph.h"
#include "graph/lifetimes.h"
#include "train/method.h"

namespace llmhost::train {

struct LoweredGraph {
  graph::Graph graph;  // every node is one that the device runs
  graph::ArenaPlan arena;
  uint64_t scratch_bytes = 0;
  llmh_limits limits{};
};

// Fused and decomposed for the device. Throws when an op stays that the device does not run.
LoweredGraph lower_training(const graph::Graph& graph, const engine::Device& device,
                            const llmh_limits& limits);

llmh_limits training_limits(int64_t max_tokens, int64_t max_sequences);

// Everything that is known before memory is allocated.
struct TrainingLayout {
  Method::Tuned tuned;
  std::vector<std::string> trained;  // names of the parameters in the graph
  std::vector<std::vector<int64_t>> shapes;
  LoweredGraph train;  // loss and gradients
  LoweredGraph eval;   // loss alone

  TrainingLayout(const model::LoadedModel& model, const engine::Device& device, Method& method,
                 const llmh_limits& limits, const graph::DifferentiateOptions& options);
};

}  // namespace llmhost::train
