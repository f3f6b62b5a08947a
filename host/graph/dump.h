// A graph as text, one line a node, the same for the same graph in every run and on every machine:
//   %12 f32[T,576] = linear(%3, model.norm.weight q4_1[576,576]) @ model.layers.0.self_attn.q_proj
//   {eps=1e-05}
#pragma once

#include <string>

#include "graph/graph.h"

namespace llmhost::graph {

std::string dump(const Graph& graph);
// The line of one node, without a line end.
std::string dump_node(const Graph& graph, uint32_t node);

}  // namespace llmhost::graph
