// Weights of the checkpoint as parameters: what is trained of a model itself.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "graph/graph.h"

namespace llmhost::graph {

struct TrainedWeight {
  std::string weight;              // Hub name
  std::string parameter;           // its name as a parameter; empty: the weight's
  std::vector<std::string> paths;  // module paths whose uses of it are meant; empty: all. Other uses read the
                                   // weight as before, so that the name has to be another one
};

// A copy of the graph in which the weights are parameters, f32 of the same shape, whose values are to be
// copied from the weights. Throws for a weight that the graph has not, or that none of the paths uses, and
// for one that is meant twice in one place.
Graph with_trained_weights(const Graph& graph, std::span<const TrainedWeight> trained);
Graph with_trained_weights(const Graph& graph, std::span<const std::string> weights);

}  // namespace llmhost::graph
