// Parts that the changes of single ops are made of.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "graph/emit.h"
#include "mutation/features.h"

namespace llmhost::mutation {

using Changes = std::vector<Change>;

// The node with other inputs or attributes; tensors are those of the target graph.
void add_instead(graph::Rewriter& rewriter, uint32_t node, llmh_op op, std::span<const llmh_tensor> inputs,
                 const void* attrs, size_t attrs_size);

bool same_type(const graph::Graph& graph, llmh_tensor a, llmh_tensor b);

Change change(std::string kind, uint32_t node, Apply apply);
Change without_input(std::string kind, uint32_t node, uint32_t input);
Change swapped_inputs(std::string kind, uint32_t node, uint32_t a, uint32_t b);
// The result is the input; nothing is added when their types differ.
void add_identity(Changes& changes, const graph::Graph& graph, uint32_t node, uint32_t input,
                  const std::string& kind);
// `make` adds nodes to the target graph and gives the tensor that stands for the output.
Change replaced(std::string kind, uint32_t node,
                std::function<llmh_tensor(graph::Emit& emit, const std::vector<llmh_tensor>& inputs)> make);

template <typename Attrs, typename Edit>
Change edited(std::string kind, uint32_t node, Edit edit) {
  return change(std::move(kind), node, [edit](graph::Rewriter& rewriter, uint32_t index) {
    const llmh_node& old = rewriter.source().node(index);
    Attrs attrs = graph::attrs_of<Attrs>(old);
    edit(attrs);
    add_instead(rewriter, index, old.op, rewriter.map(graph::inputs_of(old)), &attrs, sizeof attrs);
  });
}

// By subject; each takes the ops that it knows and leaves the others.
void weight_changes(Changes& changes, const graph::Graph& graph, uint32_t node);
void attention_changes(Changes& changes, const graph::Graph& graph, uint32_t node);
void rope_changes(Changes& changes, const graph::Graph& graph, uint32_t node);
void activation_changes(Changes& changes, const graph::Graph& graph, uint32_t node);
void arithmetic_changes(Changes& changes, const graph::Graph& graph, uint32_t node);
void movement_changes(Changes& changes, const graph::Graph& graph, uint32_t node);

}  // namespace llmhost::mutation
