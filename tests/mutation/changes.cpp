#include "mutation/changes.h"

namespace llmhost::mutation {

using graph::Emit;
using graph::Graph;
using graph::Rewriter;

void add_instead(Rewriter& rewriter, uint32_t node, llmh_op op, std::span<const llmh_tensor> inputs,
                 const void* attrs, size_t attrs_size) {
  const llmh_node& old = rewriter.source().node(node);
  const auto outputs = rewriter.target().add_node(op, graph::to_view(old.path), inputs, attrs, attrs_size);
  for (size_t i = 0; i < outputs.size(); ++i) rewriter.replace(old.outputs[i], outputs[i]);
}

bool same_type(const Graph& graph, llmh_tensor a, llmh_tensor b) {
  const llmh_tensor_info& first = graph.tensor(a);
  const llmh_tensor_info& second = graph.tensor(b);
  return first.dtype == second.dtype && graph::same_dims(graph::dims_of(first), graph::dims_of(second));
}

Change change(std::string kind, uint32_t node, Apply apply) {
  return {std::move(kind), {{node, std::move(apply)}}};
}

Change without_input(std::string kind, uint32_t node, uint32_t input) {
  return change(std::move(kind), node, [input](Rewriter& rewriter, uint32_t index) {
    const llmh_node& old = rewriter.source().node(index);
    auto inputs = rewriter.map(graph::inputs_of(old));
    inputs[input] = LLMH_NO_TENSOR;
    add_instead(rewriter, index, old.op, inputs, old.attrs, old.attrs_size);
  });
}

Change swapped_inputs(std::string kind, uint32_t node, uint32_t a, uint32_t b) {
  return change(std::move(kind), node, [a, b](Rewriter& rewriter, uint32_t index) {
    const llmh_node& old = rewriter.source().node(index);
    auto inputs = rewriter.map(graph::inputs_of(old));
    std::swap(inputs[a], inputs[b]);
    add_instead(rewriter, index, old.op, inputs, old.attrs, old.attrs_size);
  });
}

void add_identity(Changes& changes, const Graph& graph, uint32_t node, uint32_t input,
                  const std::string& kind) {
  const llmh_node& old = graph.node(node);
  const llmh_tensor kept = graph::input_of(old, input);
  if (kept == LLMH_NO_TENSOR || !same_type(graph, kept, old.outputs[0])) return;
  changes.push_back(change(kind, node, [kept](Rewriter& rewriter, uint32_t index) {
    rewriter.replace(rewriter.source().node(index).outputs[0], rewriter.map(kept));
  }));
}

Change replaced(std::string kind, uint32_t node,
                std::function<llmh_tensor(Emit& emit, const std::vector<llmh_tensor>& inputs)> make) {
  return change(std::move(kind), node, [make](Rewriter& rewriter, uint32_t index) {
    const llmh_node& old = rewriter.source().node(index);
    Emit emit(rewriter.target(), graph::to_view(old.path));
    rewriter.replace(old.outputs[0], make(emit, rewriter.map(graph::inputs_of(old))));
  });
}

Changes changes_of(const Graph& graph, uint32_t node) {
  Changes changes;
  weight_changes(changes, graph, node);
  attention_changes(changes, graph, node);
  rope_changes(changes, graph, node);
  activation_changes(changes, graph, node);
  arithmetic_changes(changes, graph, node);
  movement_changes(changes, graph, node);
  return changes;
}

}  // namespace llmhost::mutation
