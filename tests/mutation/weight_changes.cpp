// Linear layers, norms and the output head.
#include "mutation/changes.h"

namespace llmhost::mutation {
namespace {

using graph::Emit;
using graph::Graph;
using graph::input_of;

void linear_changes(Changes& changes, const Graph& graph, uint32_t index) {
  const llmh_node& node = graph.node(index);
  const uint32_t bias = node.op == LLMH_OP_LINEAR ? 2 : 3;
  if (input_of(node, bias) != LLMH_NO_TENSOR) changes.push_back(without_input("bias dropped", index, bias));
  if (node.op == LLMH_OP_LINEAR) add_identity(changes, graph, index, 0, "projection dropped");
}

// The other matrix of the vocabulary's shape, when the model has two.
void head_changes(Changes& changes, const Graph& graph, uint32_t index) {
  const llmh_node& node = graph.node(index);
  const llmh_tensor weight = input_of(node, 1);
  for (uint32_t i = 0; i < graph.node_count(); ++i) {
    const llmh_node& other = graph.node(i);
    if (other.op != LLMH_OP_EMBEDDING) continue;
    const llmh_tensor table = input_of(other, 0);
    if (table == weight || !same_type(graph, table, weight)) continue;
    changes.push_back(
        change("head tied to the embedding", index, [table](graph::Rewriter& rewriter, uint32_t at) {
          const llmh_node& old = rewriter.source().node(at);
          auto inputs = rewriter.map(graph::inputs_of(old));
          inputs[1] = rewriter.map(table);
          add_instead(rewriter, at, old.op, inputs, old.attrs, old.attrs_size);
        }));
  }
}

Change other_norm(const llmh_node& node, uint32_t index) {
  const llmh_norm_attrs attrs = graph::attrs_of<llmh_norm_attrs>(node);
  if (node.op == LLMH_OP_RMS_NORM)
    return replaced("rms_norm to layer_norm", index, [attrs](Emit& emit, const auto& in) {
      const llmh_tensor weight = in.size() > 1 ? in[1] : LLMH_NO_TENSOR;
      return emit.op(LLMH_OP_LAYER_NORM, {in[0], weight, LLMH_NO_TENSOR}, attrs);
    });
  return replaced("layer_norm to rms_norm", index, [attrs](Emit& emit, const auto& in) {
    const llmh_tensor norm =
        emit.op(LLMH_OP_RMS_NORM, {in[0], in.size() > 1 ? in[1] : LLMH_NO_TENSOR}, attrs);
    return in.size() > 2 && in[2] != LLMH_NO_TENSOR ? emit.add(norm, in[2]) : norm;
  });
}

void norm_changes(Changes& changes, const Graph& graph, uint32_t index) {
  const llmh_node& node = graph.node(index);
  const bool weighted = input_of(node, 1) != LLMH_NO_TENSOR;
  if (weighted) changes.push_back(without_input("weight dropped", index, 1));
  if (node.op == LLMH_OP_LAYER_NORM && input_of(node, 2) != LLMH_NO_TENSOR)
    changes.push_back(without_input("bias dropped", index, 2));
  add_identity(changes, graph, index, 0, "norm dropped");
  changes.push_back(other_norm(node, index));
  changes.push_back(edited<llmh_norm_attrs>("eps x 100", index, [](auto& attrs) { attrs.eps *= 100; }));
  if (!weighted) return;
  const bool offset = graph::attrs_of<llmh_norm_attrs>(node).weight_offset != 0;
  changes.push_back(
      edited<llmh_norm_attrs>(offset ? "weight offset dropped" : "weight offset 1", index,
                              [offset](auto& attrs) { attrs.weight_offset = offset ? 0.0F : 1.0F; }));
}

}  // namespace

void weight_changes(Changes& changes, const Graph& graph, uint32_t node) {
  switch (graph.node(node).op) {
    case LLMH_OP_LINEAR:
      head_changes(changes, graph, node);
      linear_changes(changes, graph, node);
      return;
    case LLMH_OP_EXPERT_LINEAR:
      linear_changes(changes, graph, node);
      return;
    case LLMH_OP_RMS_NORM:
    case LLMH_OP_LAYER_NORM:
      norm_changes(changes, graph, node);
      return;
    default:
      return;
  }
}

}  // namespace llmhost::mutation
