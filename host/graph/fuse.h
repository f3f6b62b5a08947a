// Fusion: pairs of ops that a backend may run as one. A table of (pattern, fused op); a pair is fused only
// when the backend supports the fused node and the value between the two has no other reader (or is an output
// of the fused op itself).
#pragma once

#include "graph/decompose.h"
#include "graph/graph.h"

namespace llmhost::graph {

// A copy with every supported fusion made and without dead nodes.
Graph fuse(const Graph& graph, const Supports& supports);

// A copy without the nodes whose results reach no output. Nodes that write state or add to a
// parameter stay.
Graph eliminate_dead(const Graph& graph);

}  // namespace llmhost::graph
