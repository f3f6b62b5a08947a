// The order in which parts of a tensor lie.
#include "mutation/changes.h"

namespace llmhost::mutation {
namespace {

using graph::Emit;
using graph::Graph;
using Slice = llmh_slice_attrs;

Apply slice_at(int64_t begin, int64_t end) {
  return edited<Slice>("", 0,
                       [begin, end](Slice& attrs) {
                         attrs.begin = begin;
                         attrs.end = end;
                       })
      .applied.at(0);
}

// Two parts that lie one after the other are read as if they lay the other way round.
void slice_changes(Changes& changes, const Graph& graph, uint32_t index) {
  const llmh_node& node = graph.node(index);
  const Slice first = graph::attrs_of<Slice>(node);
  for (uint32_t i = 0; i < graph.node_count(); ++i) {
    const llmh_node& other = graph.node(i);
    if (other.op != LLMH_OP_SLICE || other.inputs[0] != node.inputs[0]) continue;
    const Slice second = graph::attrs_of<Slice>(other);
    if (second.axis != first.axis || second.begin != first.end) continue;
    const int64_t middle = first.begin + (second.end - second.begin);
    changes.push_back({"parts read in the other order",
                       {{index, slice_at(middle, second.end)}, {i, slice_at(first.begin, middle)}}});
    return;
  }
}

bool moves_something(const Graph& graph, const llmh_node& node) {
  const auto& attrs = graph::attrs_of<llmh_permute_attrs>(node);
  const auto dims = graph::dims_of(graph.tensor(node.inputs[0]));
  int32_t last = -1;
  for (int32_t i = 0; i < attrs.rank; ++i) {
    const llmh_dim& dim = dims[static_cast<size_t>(attrs.axes[i])];
    if (dim.symbol == LLMH_DIM_CONST && dim.size == 1) continue;
    if (attrs.axes[i] < last) return true;
    last = attrs.axes[i];
  }
  return false;
}

void permute_changes(Changes& changes, const Graph& graph, uint32_t index) {
  const llmh_node& node = graph.node(index);
  if (!moves_something(graph, node)) return;
  const auto dims = graph::type_of(graph.tensor(node.outputs[0])).dims;
  changes.push_back(replaced("permutation dropped", index,
                             [dims](Emit& emit, const auto& in) { return emit.reshape(in[0], dims); }));
}

}  // namespace

void movement_changes(Changes& changes, const Graph& graph, uint32_t index) {
  const llmh_node& node = graph.node(index);
  if (node.op == LLMH_OP_SLICE) slice_changes(changes, graph, index);
  if (node.op == LLMH_OP_PERMUTE) permute_changes(changes, graph, index);
  if (node.op != LLMH_OP_CONCAT || node.n_inputs < 2) return;
  const auto axis = static_cast<size_t>(graph::attrs_of<llmh_axis_attrs>(node).axis);
  changes.push_back(replaced("parts joined in the other order", index, [axis](Emit& emit, const auto& in) {
    const std::vector<llmh_tensor> turned(in.rbegin(), in.rend());
    return emit.concat(turned, axis);
  }));
}

}  // namespace llmhost::mutation
