// What a graph consists of, seen as features that could have been forgotten: a bias, a scale, a norm's
// weight, the window of an attention. One feature is one change at one kind of place (layer numbers are left
// open), and the same change in every layer, or in the last layer alone.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "graph/graph.h"
#include "graph/rewrite.h"

namespace llmhost::mutation {

// Adds to rewriter.target() what stands for the node instead of a copy.
using Apply = std::function<void(graph::Rewriter& rewriter, uint32_t node)>;

struct Change {
  std::string kind;                   // "bias dropped"
  std::map<uint32_t, Apply> applied;  // to these nodes; the first one says where it is
};

struct Feature {
  std::string id;  // "bias dropped: linear @ model.layers.*.self_attn.q_proj"
  std::map<uint32_t, Apply> applied;
};

// Every change of one node that a backend could run.
std::vector<Change> changes_of(const graph::Graph& graph, uint32_t node);

// All features of a graph, by id.
std::vector<Feature> features_of(const graph::Graph& graph);

// A copy of the graph without the feature. Throws Error when the rest does not fit together.
graph::Graph without(const graph::Graph& graph, const Feature& feature);

}  // namespace llmhost::mutation
