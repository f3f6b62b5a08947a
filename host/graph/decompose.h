// Composite ops as simpler ones. These decompositions are the meaning of the composite ops: the reference
// evaluator runs them, backends are tested against them, and a backend that lacks an op is given them.
#pragma once

#include <functional>
#include <vector>

#include "graph/graph.h"
#include "graph/op_registry.h"

namespace llmhost::graph {

// Whether a node of the graph is to stay as it is (the backend runs it).
using Supports = std::function<bool(const Graph& graph, uint32_t node)>;

// A copy of the graph in which every composite node that is not supported is replaced by its parts, and these
// again, until each is supported or primitive. Names, outputs and parameters are kept. A primitive op that is
// not supported stays: the caller finds it with first_unsupported().
Graph decompose(const Graph& graph, const Supports& supports);

// The first node that is not supported, or node_count().
uint32_t first_unsupported(const Graph& graph, const Supports& supports);

// One composite op each; the results are the outputs of the op, in tensors of node.graph.
namespace parts {

using Tensors = std::vector<llmh_tensor>;

Tensors embedding(const CompositeNode& node);
Tensors linear(const CompositeNode& node);
Tensors rms_norm(const CompositeNode& node);
Tensors layer_norm(const CompositeNode& node);
Tensors add_rms_norm(const CompositeNode& node);
Tensors rope(const CompositeNode& node);
Tensors attention(const CompositeNode& node);
Tensors activation(const CompositeNode& node);
Tensors gated_activation(const CompositeNode& node);
Tensors softcap(const CompositeNode& node);
Tensors scale(const CompositeNode& node);
Tensors softmax(const CompositeNode& node);
Tensors expert_linear(const CompositeNode& node);
Tensors linear_input_grad(const CompositeNode& node);
Tensors rms_norm_grad(const CompositeNode& node);
Tensors rms_norm_weight_grad(const CompositeNode& node);
Tensors layer_norm_grad(const CompositeNode& node);
Tensors layer_norm_weight_grad(const CompositeNode& node);
Tensors activation_grad(const CompositeNode& node);
Tensors gated_activation_grad(const CompositeNode& node);
Tensors softmax_grad(const CompositeNode& node);

}  // namespace parts
}  // namespace llmhost::graph
