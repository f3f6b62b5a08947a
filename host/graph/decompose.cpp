#include "graph/decompose.h"

#include "graph/rewrite.h"

namespace llmhost::graph {
namespace {

// One pass over the graph; true when something was replaced.
bool replace_unsupported(Graph& graph, const Supports& supports) {
  Rewriter rewriter(graph);
  bool replaced = false;
  for (uint32_t i = 0; i < graph.node_count(); ++i) {
    const llmh_node& node = graph.node(i);
    const OpSpec* spec = find_op(node.op);
    if (spec->decompose == nullptr || supports(graph, i)) {
      rewriter.copy(i);
      continue;
    }
    const auto inputs = rewriter.map(inputs_of(node));
    const auto outputs = spec->decompose({rewriter.target(), to_view(node.path), inputs, node.attrs});
    for (size_t k = 0; k < outputs.size(); ++k) rewriter.replace(node.outputs[k], outputs[k]);
    replaced = true;
  }
  graph = rewriter.finish();
  return replaced;
}

Graph copy_of(const Graph& graph) {
  Rewriter rewriter(graph);
  for (uint32_t i = 0; i < graph.node_count(); ++i) rewriter.copy(i);
  return rewriter.finish();
}

}  // namespace

Graph decompose(const Graph& graph, const Supports& supports) {
  Graph result = copy_of(graph);
  while (replace_unsupported(result, supports)) {
  }
  return result;
}

uint32_t first_unsupported(const Graph& graph, const Supports& supports) {
  for (uint32_t i = 0; i < graph.node_count(); ++i)
    if (!supports(graph, i)) return i;
  return graph.node_count();
}

}  // namespace llmhost::graph
