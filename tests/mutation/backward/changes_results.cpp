// What a node gives, and what it is given.
#include "changes.h"

namespace llmhost::mutation {
namespace {

using graph::dims_of;
using graph::Graph;
using graph::input_of;
using graph::inputs_of;
using graph::outputs_of;

bool is_alike(const Graph& graph, llmh_tensor a, llmh_tensor b) {
  const llmh_tensor_info& left = graph.tensor(a);
  const llmh_tensor_info& right = graph.tensor(b);
  return left.dtype == right.dtype && graph::same_dims(dims_of(left), dims_of(right));
}

bool is_read(const Graph& graph, llmh_tensor tensor) {
  for (uint32_t i = 0; i < graph.node_count(); ++i)
    for (const llmh_tensor input : inputs_of(graph.node(i)))
      if (input == tensor) return true;
  return false;
}

bool is_number(const llmh_tensor_info& info) {
  return info.role == LLMH_TENSOR_CONSTANT && info.dtype == LLMH_DTYPE_F32 && info.rank == 0;
}

Change with_result(const std::string& name, size_t output, float factor) {
  return {name, [=](const Place& place) {
            auto outputs = place.as_it_was();
            outputs[output] = place.emit.scale(outputs[output], factor);
            return outputs;
          }};
}

Change with_input(const std::string& name, size_t input, std::function<llmh_tensor(const Place&)> other) {
  return {name, [=](const Place& place) {
            Place changed = place;
            changed.inputs[input] = other(place);
            return changed.as_it_was();
          }};
}

void add_numbers(const Graph& graph, const llmh_node& node, std::vector<Change>& changes) {
  for (uint32_t i = 0; i < node.n_inputs; ++i) {
    if (input_of(node, i) == LLMH_NO_TENSOR) continue;
    const llmh_tensor_info& info = graph.tensor(node.inputs[i]);
    if (!is_number(info)) continue;
    const float number = *static_cast<const float*>(info.data);
    for (const float other : {2 * number, -number, 0.0F})
      changes.push_back(with_input("number " + std::to_string(other), i,
                                   [=](const Place& place) { return place.emit.graph().scalar(other); }));
  }
}

}  // namespace

std::vector<llmh_tensor> Place::as_it_was() const {
  return emit.node(node.op, inputs, node.attrs, node.attrs_size);
}

void add_result_changes(const Graph& graph, const llmh_node& node, std::vector<Change>& changes) {
  if (node.op == LLMH_OP_ACCUMULATE) {
    changes.push_back({"left out", [](const Place&) { return std::vector<llmh_tensor>(); }});
    return;
  }
  for (size_t k = 0; k < node.n_outputs; ++k) {
    if (graph.tensor(node.outputs[k]).dtype != LLMH_DTYPE_F32 || !is_read(graph, node.outputs[k])) continue;
    const std::string which = node.n_outputs == 1 ? "result" : "result " + std::to_string(k);
    changes.push_back(with_result(which + " negated", k, -1));
    changes.push_back(with_result(which + " doubled", k, 2));
    changes.push_back(with_result(which + " lost", k, 0));
    for (size_t other = k + 1; other < node.n_outputs; ++other)
      if (is_alike(graph, node.outputs[k], node.outputs[other]))
        changes.push_back({which + " and " + std::to_string(other) + " exchanged", [=](const Place& place) {
                             auto outputs = place.as_it_was();
                             std::swap(outputs[k], outputs[other]);
                             return outputs;
                           }});
  }
}

void add_operand_changes(const Graph& graph, const llmh_node& node, std::vector<Change>& changes) {
  add_numbers(graph, node, changes);
  for (uint32_t i = 0; i < node.n_inputs; ++i) {
    if (input_of(node, i) == LLMH_NO_TENSOR) continue;
    const std::string which = "operand " + std::to_string(i);
    for (uint32_t k = 0; k < node.n_inputs; ++k) {
      if (k == i || input_of(node, k) == LLMH_NO_TENSOR || node.inputs[i] == node.inputs[k] ||
          !is_alike(graph, node.inputs[i], node.inputs[k]))
        continue;
      const std::string other = std::to_string(k);
      changes.push_back(
          with_input(which + " is " + other, i, [k](const Place& place) { return place.inputs[k]; }));
      const bool either_way = node.op == LLMH_OP_ADD || node.op == LLMH_OP_MUL;
      if (k > i && !either_way)
        changes.push_back({which + " and " + other + " exchanged", [=](const Place& place) {
                             Place changed = place;
                             std::swap(changed.inputs[i], changed.inputs[k]);
                             return changed.as_it_was();
                           }});
    }
    // Optional inputs, and for shapes the others are refused.
    changes.push_back(
        with_input(which + " left out", i, [](const Place&) -> llmh_tensor { return LLMH_NO_TENSOR; }));
  }
}

}  // namespace llmhost::mutation
