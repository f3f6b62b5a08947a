#include "graph/fuse.h"

#include <algorithm>
#include <array>
#include <optional>

#include "graph/rewrite.h"

namespace llmhost::graph {
namespace {

constexpr uint32_t kNone = UINT32_MAX;

bool has_side_effect(const llmh_node& node) {
  return node.op == LLMH_OP_STATE_WRITE || node.op == LLMH_OP_ATTENTION || node.op == LLMH_OP_ACCUMULATE;
}

// Who makes and who reads each tensor.
struct Uses {
  explicit Uses(const Graph& graph) : readers(graph.tensor_count()), is_output(graph.tensor_count(), false) {
    for (uint32_t i = 0; i < graph.node_count(); ++i)
      for (const llmh_tensor input : inputs_of(graph.node(i)))
        if (input != LLMH_NO_TENSOR) readers[static_cast<size_t>(input)].push_back(i);
    const llmh_graph& view = graph.view();
    for (uint32_t i = 0; i < view.n_outputs; ++i)
      is_output[static_cast<size_t>(view.outputs[i]->tensor)] = true;
  }
  bool only_reader(llmh_tensor tensor, uint32_t node) const {
    const auto& nodes = readers[static_cast<size_t>(tensor)];
    return !is_output[static_cast<size_t>(tensor)] && nodes.size() == 1 && nodes[0] == node;
  }

  std::vector<std::vector<uint32_t>> readers;
  std::vector<bool> is_output;
};

// `first` disappears into `second`; the fused node stands at the place of `at`.
struct Fusion {
  uint32_t first;
  uint32_t second;
  uint32_t at;
  llmh_op op;
  std::vector<llmh_tensor> inputs;   // old tensors
  std::vector<llmh_tensor> outputs;  // old tensors that the fused node's outputs stand for
  const void* attrs;
  uint32_t attrs_size;
};

using Matcher = std::optional<Fusion> (*)(const Graph& graph, const Uses& uses, uint32_t second);

uint32_t producer_with_op(const Graph& graph, llmh_tensor tensor, llmh_op op) {
  if (tensor == LLMH_NO_TENSOR || graph.tensor(tensor).producer < 0) return kNone;
  const auto producer = static_cast<uint32_t>(graph.tensor(tensor).producer);
  return graph.node(producer).op == op ? producer : kNone;
}

// mul(activation(gate), up), in either order.
std::optional<Fusion> match_gated(const Graph& graph, const Uses& uses, uint32_t second) {
  const llmh_node& mul = graph.node(second);
  if (mul.op != LLMH_OP_MUL) return std::nullopt;
  for (uint32_t side = 0; side < 2; ++side) {
    const llmh_tensor gate = mul.inputs[side];
    const llmh_tensor up = mul.inputs[1 - side];
    const uint32_t first = producer_with_op(graph, gate, LLMH_OP_ACTIVATION);
    if (first == kNone || !uses.only_reader(gate, second)) continue;
    if (!same_dims(dims_of(graph.tensor(gate)), dims_of(graph.tensor(up)))) continue;
    const llmh_node& activation = graph.node(first);
    return Fusion{first,
                  second,
                  second,
                  LLMH_OP_GATED_ACTIVATION,
                  {activation.inputs[0], up},
                  {mul.outputs[0]},
                  activation.attrs,
                  activation.attrs_size};
  }
  return std::nullopt;
}

// rms_norm(add(a, b)); the sum may have other readers, as it is an output of the fused node. It takes the
// place of the sum, so that those find it made; a weight of the norm is there from the start.
std::optional<Fusion> match_add_norm(const Graph& graph, const Uses&, uint32_t second) {
  const llmh_node& norm = graph.node(second);
  if (norm.op != LLMH_OP_RMS_NORM) return std::nullopt;
  const uint32_t first = producer_with_op(graph, norm.inputs[0], LLMH_OP_ADD);
  if (first == kNone) return std::nullopt;
  const llmh_node& add = graph.node(first);
  const llmh_tensor weight = input_of(norm, 1);
  if (!same_dims(dims_of(graph.tensor(add.inputs[0])), dims_of(graph.tensor(add.inputs[1]))))
    return std::nullopt;
  if (weight != LLMH_NO_TENSOR && graph.tensor(weight).role == LLMH_TENSOR_ACTIVATION) return std::nullopt;
  return Fusion{first,
                second,
                first,
                LLMH_OP_ADD_RMS_NORM,
                {add.inputs[0], add.inputs[1], weight},
                {add.outputs[0], norm.outputs[0]},
                norm.attrs,
                norm.attrs_size};
}

constexpr std::array<Matcher, 2> kFusions = {match_gated, match_add_norm};

// Whether the backend takes the fused node, asked on a graph of that node alone.
bool is_supported(const Graph& graph, const Fusion& fusion, const Supports& supports) {
  Graph probe;
  std::vector<llmh_tensor> inputs;
  for (const llmh_tensor input : fusion.inputs) {
    if (input == LLMH_NO_TENSOR) {
      inputs.push_back(input);
      continue;
    }
    const llmh_tensor_info& info = graph.tensor(input);
    const TensorType type = type_of(info);
    std::vector<int64_t> sizes;
    for (const llmh_dim& dim : type.dims) sizes.push_back(dim.size);
    if (info.role == LLMH_TENSOR_WEIGHT) {
      inputs.push_back(probe.add_weight(to_view(info.name), type.dtype, sizes));
    } else if (info.role == LLMH_TENSOR_PARAMETER && probe.find(to_view(info.name)) == LLMH_NO_TENSOR) {
      inputs.push_back(probe.add_parameter(to_view(info.name), sizes, {}));
    } else {
      inputs.push_back(probe.add_placeholder(type));
    }
  }
  probe.add_node(fusion.op, to_view(graph.node(fusion.second).path), inputs, fusion.attrs, fusion.attrs_size);
  return supports(probe, 0);
}

}  // namespace

Graph fuse(const Graph& graph, const Supports& supports) {
  const Uses uses(graph);
  std::vector<std::optional<Fusion>> at(graph.node_count());
  std::vector<bool> gone(graph.node_count(), false);
  for (uint32_t i = 0; i < graph.node_count(); ++i)
    for (const Matcher match : kFusions) {
      auto fusion = match(graph, uses, i);
      if (!fusion || gone[fusion->first] || gone[fusion->second]) continue;
      if (!is_supported(graph, *fusion, supports)) continue;
      gone[fusion->first] = gone[fusion->second] = true;
      at[fusion->at] = std::move(fusion);
      break;
    }
  Rewriter rewriter(graph);
  for (uint32_t i = 0; i < graph.node_count(); ++i) {
    if (at[i]) {
      const Fusion& fusion = *at[i];
      const auto outputs =
          rewriter.target().add_node(fusion.op, to_view(graph.node(fusion.second).path),
                                     rewriter.map(fusion.inputs), fusion.attrs, fusion.attrs_size);
      for (size_t k = 0; k < outputs.size(); ++k) rewriter.replace(fusion.outputs[k], outputs[k]);
    } else if (!gone[i]) {
      rewriter.copy(i);
    }
  }
  return eliminate_dead(rewriter.finish());
}

Graph eliminate_dead(const Graph& graph) {
  std::vector<bool> needed(graph.tensor_count(), false);
  std::vector<bool> live(graph.node_count(), false);
  const llmh_graph& view = graph.view();
  for (uint32_t i = 0; i < view.n_outputs; ++i) needed[static_cast<size_t>(view.outputs[i]->tensor)] = true;
  for (uint32_t i = graph.node_count(); i-- > 0;) {
    const llmh_node& node = graph.node(i);
    live[i] = has_side_effect(node) || std::ranges::any_of(outputs_of(node), [&](llmh_tensor output) {
                return needed[static_cast<size_t>(output)];
              });
    if (!live[i]) continue;
    for (const llmh_tensor input : inputs_of(node))
      if (input != LLMH_NO_TENSOR) needed[static_cast<size_t>(input)] = true;
  }
  Rewriter rewriter(graph);
  for (uint32_t i = 0; i < graph.node_count(); ++i)
    if (live[i]) rewriter.copy(i);
  return rewriter.finish();
}

}  // namespace llmhost::graph
