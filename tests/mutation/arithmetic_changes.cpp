// Sums, factors, limits, and the choice of the largest.
#include "mutation/changes.h"

namespace llmhost::mutation {
namespace {

using graph::Graph;
using graph::Rewriter;

void reduce_changes(Changes& changes, const Graph& graph, uint32_t index) {
  const int32_t kind = graph::attrs_of<llmh_reduce_attrs>(graph.node(index)).kind;
  const int32_t other = kind == LLMH_REDUCE_SUM ? LLMH_REDUCE_MAX : LLMH_REDUCE_SUM;
  changes.push_back(edited<llmh_reduce_attrs>(kind == LLMH_REDUCE_SUM ? "sum to maximum" : "reduced to sum",
                                              index, [other](auto& attrs) { attrs.kind = other; }));
}

// The last of the chosen gives way to the first that was not: the shapes stay.
void add_top_k(Rewriter& rewriter, uint32_t index) {
  const llmh_node& old = rewriter.source().node(index);
  auto attrs = graph::attrs_of<llmh_top_k_attrs>(old);
  const int64_t k = attrs.k++;
  const auto wider = rewriter.target().add_node(old.op, graph::to_view(old.path),
                                                rewriter.map(graph::inputs_of(old)), &attrs, sizeof attrs);
  graph::Emit emit(rewriter.target(), graph::to_view(old.path));
  for (size_t i = 0; i < wider.size(); ++i) {
    const size_t axis = emit.dims(wider[i]).size() - 1;
    const llmh_tensor last = emit.slice(wider[i], axis, k, k + 1);
    rewriter.replace(old.outputs[i],
                     k == 1 ? last : emit.concat({emit.slice(wider[i], axis, 0, k - 1), last}, axis));
  }
}

int64_t row_length(const Graph& graph, uint32_t index) {
  const auto dims = graph::dims_of(graph.tensor(graph.node(index).inputs[0]));
  return dims.back().size;
}

void top_k_changes(Changes& changes, const Graph& graph, uint32_t index) {
  const llmh_node& node = graph.node(index);
  const int32_t k = graph::attrs_of<llmh_top_k_attrs>(node).k;
  if (node.op == LLMH_OP_TOP_K) {
    if (k < row_length(graph, index)) changes.push_back(change("last of the chosen lost", index, add_top_k));
    return;
  }
  if (k > 1)
    changes.push_back(edited<llmh_top_k_attrs>("k - 1", index, [](auto& attrs) { --attrs.k; }));
  else if (k < row_length(graph, index))
    changes.push_back(edited<llmh_top_k_attrs>("k + 1", index, [](auto& attrs) { ++attrs.k; }));
}

}  // namespace

void arithmetic_changes(Changes& changes, const Graph& graph, uint32_t index) {
  switch (graph.node(index).op) {
    case LLMH_OP_ADD:
    case LLMH_OP_MUL:
      add_identity(changes, graph, index, 1, "first operand dropped");
      add_identity(changes, graph, index, 0, "second operand dropped");
      return;
    case LLMH_OP_SUB:
    case LLMH_OP_DIV:
      add_identity(changes, graph, index, 0, "second operand dropped");
      return;
    case LLMH_OP_SCALE:
      add_identity(changes, graph, index, 0, "scale dropped");
      return;
    case LLMH_OP_CLAMP:
      add_identity(changes, graph, index, 0, "clamp dropped");
      return;
    case LLMH_OP_UNARY:
      add_identity(changes, graph, index, 0, "function dropped");
      return;
    case LLMH_OP_REDUCE:
      reduce_changes(changes, graph, index);
      return;
    case LLMH_OP_TOP_K:
    case LLMH_OP_TOP_K_MASK:
      top_k_changes(changes, graph, index);
      return;
    default:
      return;
  }
}

}  // namespace llmhost::mutation
