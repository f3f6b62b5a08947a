// Another op in place of a node's own.
#include <array>

#include "changes.h"

namespace llmhost::mutation {
namespace {

using graph::attrs_of;
using graph::Graph;

std::vector<llmh_tensor> one(llmh_tensor tensor) {
  return {tensor};
}

Change plain(const std::string& name, llmh_op op) {
  return {name, [op](const Place& place) { return place.emit.node(op, place.inputs, nullptr, 0); }};
}

// An operand instead of the result; of another shape it is stretched or summed as the result is.
Change operand_alone(const Graph& graph, const llmh_node& node, uint32_t input) {
  const graph::Dims dims = graph::type_of(graph.tensor(node.outputs[0])).dims;
  return {"operand " + std::to_string(input) + " alone",
          [=](const Place& place) { return one(place.emit.broadcast(place.inputs[input], dims)); }};
}

void add_binary(const Graph& graph, const llmh_node& node, std::vector<Change>& changes) {
  for (uint32_t i = 0; i < 2; ++i) changes.push_back(operand_alone(graph, node, i));
  switch (node.op) {
    case LLMH_OP_ADD:
      changes.push_back(plain("subtracted", LLMH_OP_SUB));
      break;
    case LLMH_OP_SUB:
      changes.push_back(plain("added", LLMH_OP_ADD));
      break;
    case LLMH_OP_MUL:
      changes.push_back(plain("added", LLMH_OP_ADD));
      break;
    default:
      changes.push_back(plain("multiplied", LLMH_OP_MUL));
  }
}

void add_unary(const llmh_node& node, std::vector<Change>& changes) {
  changes.push_back({"left out", [](const Place& place) { return one(place.inputs[0]); }});
  for (int32_t kind = LLMH_UNARY_NEG; kind <= LLMH_UNARY_STEP; ++kind) {
    if (kind == attrs_of<llmh_unary_attrs>(node).kind) continue;
    changes.push_back({"function " + std::to_string(kind),
                       [kind](const Place& place) { return one(place.emit.unary(kind, place.inputs[0])); }});
  }
}

llmh_tensor transposed(graph::Emit& emit, llmh_tensor x) {
  const auto rank = static_cast<int32_t>(emit.dims(x).size());
  std::vector<int32_t> axes;
  for (int32_t i = 0; i < rank; ++i) axes.push_back(i);
  std::swap(axes.at(static_cast<size_t>(rank) - 1), axes.at(static_cast<size_t>(rank) - 2));
  return emit.permute(x, axes);
}

// Refused by the shapes where these are not square.
void add_products(const llmh_node& node, std::vector<Change>& changes) {
  for (uint32_t i = 0; i < 2; ++i)
    changes.push_back({"operand " + std::to_string(i) + " transposed", [i](const Place& place) {
                         Place changed = place;
                         changed.inputs[i] = transposed(place.emit, place.inputs[i]);
                         return changed.as_it_was();
                       }});
  changes.push_back({"result transposed", [](const Place& place) {
                       auto outputs = place.as_it_was();
                       return one(transposed(place.emit, outputs[0]));
                     }});
  if (node.op == LLMH_OP_LINEAR_INPUT_GRAD) changes.push_back(plain("forwards", LLMH_OP_LINEAR));
  if (node.op == LLMH_OP_LINEAR) changes.push_back(plain("backwards", LLMH_OP_LINEAR_INPUT_GRAD));
  if (node.op == LLMH_OP_MATMUL)
    changes.push_back({"the other way", [&node](const Place& place) {
                         const bool is_transposed = attrs_of<llmh_matmul_attrs>(node).transpose_b != 0;
                         return one(place.emit.matmul(place.inputs[0], place.inputs[1], !is_transposed));
                       }});
}

// The elements in the order in which they lie.
void add_reordering(const Graph& graph, const llmh_node& node, std::vector<Change>& changes) {
  const graph::Dims dims = graph::type_of(graph.tensor(node.outputs[0])).dims;
  changes.push_back(
      {"order kept", [dims](const Place& place) { return one(place.emit.reshape(place.inputs[0], dims)); }});
}

}  // namespace

void add_op_changes(const Graph& graph, const llmh_node& node, std::vector<Change>& changes) {
  switch (node.op) {
    case LLMH_OP_ADD:
    case LLMH_OP_SUB:
    case LLMH_OP_MUL:
    case LLMH_OP_DIV:
      return add_binary(graph, node, changes);
    case LLMH_OP_UNARY:
      return add_unary(node, changes);
    case LLMH_OP_LINEAR:
    case LLMH_OP_MATMUL:
    case LLMH_OP_LINEAR_INPUT_GRAD:
    case LLMH_OP_LINEAR_WEIGHT_GRAD:
      return add_products(node, changes);
    case LLMH_OP_PERMUTE:
      return add_reordering(graph, node, changes);
    case LLMH_OP_SOFTMAX_GRAD:
      changes.push_back(plain("without the sum", LLMH_OP_MUL));
      return;
    case LLMH_OP_SCALE:
    case LLMH_OP_DROPOUT:
    case LLMH_OP_ROPE:
      changes.push_back({"left out", [](const Place& place) { return one(place.inputs[0]); }});
      return;
    default:
      return;
  }
}

}  // namespace llmhost::mutation
