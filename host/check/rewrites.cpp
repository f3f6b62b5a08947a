// Graphs made from the model's: another output, adapters that change nothing.
#include <charconv>
#include <map>
#include <string_view>

#include "check/bench.h"
#include "core/error.h"
#include "graph/fuse.h"
#include "graph/rewrite.h"

namespace llmhost::check {
namespace {

constexpr int64_t kRank = 2;

// Small and never zero: a sum that is not exactly zero would show.
std::vector<float> some_values(int64_t n) {
  std::vector<float> values(static_cast<size_t>(n));
  for (size_t i = 0; i < values.size(); ++i)
    values[i] = 0.01F + 0.001F * static_cast<float>(i * 2654435761U % 97);
  return values;
}

llmh_tensor matrix(graph::Graph& graph, std::vector<int64_t> shape, bool zero) {
  int64_t n = 1;
  for (const int64_t size : shape) n *= size;
  const std::vector<float> values = zero ? std::vector<float>(static_cast<size_t>(n), 0.0F) : some_values(n);
  return graph.add_constant({}, LLMH_DTYPE_F32, shape, std::as_bytes(std::span(values)));
}

llmh_tensor add(graph::Graph& graph, llmh_op op, std::string_view path, std::vector<llmh_tensor> inputs) {
  return graph.add_node(op, path, inputs).front();
}

// y + B (A x), B zero. Of experts each has its own A and B.
llmh_tensor adapted(graph::Graph& graph, const llmh_node& node, const std::vector<llmh_tensor>& inputs,
                    llmh_tensor y) {
  const auto dims = graph::dims_of(graph.tensor(inputs[1]));
  std::vector<int64_t> first;
  std::vector<int64_t> second;
  for (size_t i = 0; i + 2 < dims.size(); ++i) {
    first.push_back(dims[i].size);
    second.push_back(dims[i].size);
  }
  const int64_t rows = dims[dims.size() - 2].size;
  const int64_t columns = dims[dims.size() - 1].size;
  first.insert(first.end(), {kRank, columns});
  second.insert(second.end(), {rows, kRank});
  const llmh_tensor a = matrix(graph, first, false);
  const llmh_tensor b = matrix(graph, second, true);
  const bool experts = node.op == LLMH_OP_EXPERT_LINEAR;
  const auto product = [&](llmh_tensor x, llmh_tensor weight) {
    std::vector<llmh_tensor> all{x, weight};
    if (experts) all.push_back(inputs[2]);
    return add(graph, node.op, {}, all);
  };
  return add(graph, LLMH_OP_ADD, {}, {y, product(product(inputs[0], a), b)});
}

}  // namespace

graph::Graph with_output(const graph::Graph& graph, llmh_tensor activation) {
  graph::Rewriter rewriter(graph);
  for (uint32_t n = 0; n < graph.node_count(); ++n) rewriter.copy(n);
  graph::Graph result = std::move(rewriter.target());
  const llmh_tensor rows = result.add_input(LLMH_INPUT_OUTPUT_ROWS);
  const llmh_tensor fresh = result.find(graph::to_view(graph.tensor(activation).name));
  result.add_output(LLMH_OUTPUT_LOGITS, add(result, LLMH_OP_GATHER, {}, {fresh, rows}));
  return graph::eliminate_dead(result);
}

graph::Graph with_zero_adapters(const graph::Graph& graph, int64_t* n_adapters) {
  graph::Rewriter rewriter(graph);
  *n_adapters = 0;
  for (uint32_t n = 0; n < graph.node_count(); ++n) {
    const llmh_node& node = graph.node(n);
    if (node.op != LLMH_OP_LINEAR && node.op != LLMH_OP_EXPERT_LINEAR) {
      rewriter.copy(n);
      continue;
    }
    const std::vector<llmh_tensor> inputs = rewriter.map(graph::inputs_of(node));
    graph::Graph& target = rewriter.target();
    const llmh_tensor y =
        target.add_node(node.op, graph::to_view(node.path), inputs, node.attrs, node.attrs_size).front();
    rewriter.replace(node.outputs[0], adapted(target, node, inputs, y));
    ++*n_adapters;
  }
  return rewriter.finish();
}

std::map<int64_t, llmh_tensor> layer_outputs(const graph::Graph& graph) {
  std::map<int64_t, llmh_tensor> layers;
  constexpr std::string_view kEnd = ".output";
  for (uint32_t t = 0; t < graph.tensor_count(); ++t) {
    const llmh_tensor_info& info = graph.tensor(static_cast<llmh_tensor>(t));
    std::string_view name = graph::to_view(info.name);
    if (info.role != LLMH_TENSOR_ACTIVATION || !name.ends_with(kEnd)) continue;
    name.remove_suffix(kEnd.size());
    name.remove_prefix(name.rfind('.') + 1);
    int64_t layer = -1;
    const auto parsed = std::from_chars(name.data(), name.data() + name.size(), layer);
    if (parsed.ec == std::errc() && parsed.ptr == name.data() + name.size() && layer >= 0)
      layers.emplace(layer, static_cast<llmh_tensor>(t));
  }
  return layers;
}

}  // namespace llmhost::check
