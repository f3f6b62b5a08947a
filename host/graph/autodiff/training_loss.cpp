#include <cmath>
#include <optional>

#include "core/error.h"
#include "graph/autodiff/autodiff.h"
#include "graph/fuse.h"
#include "graph/op_registry.h"
#include "graph/rewrite.h"

namespace llmhost::graph {
namespace {

// The output head: a linear of a frozen weight, and what is done to its result.
struct Head {
  const llmh_node* linear = nullptr;
  float value = 1.0F;
  float softcap = 0.0F;  // 0: none
};

bool works_on_state(llmh_op op) {
  return op == LLMH_OP_STATE_WRITE || op == LLMH_OP_STATE_READ || op == LLMH_OP_ATTENTION_MASK ||
         op == LLMH_OP_ATTENTION_DISTANCE;
}

const llmh_node* producer_of(const Graph& graph, llmh_tensor tensor) {
  const int32_t producer = graph.tensor(tensor).producer;
  return producer < 0 ? nullptr : &graph.node(static_cast<uint32_t>(producer));
}

// The number in a constant of one element.
std::optional<float> number_in(const Graph& graph, llmh_tensor tensor) {
  const llmh_tensor_info& info = graph.tensor(tensor);
  if (info.role != LLMH_TENSOR_CONSTANT || info.dtype != LLMH_DTYPE_F32 || info.data_bytes != sizeof(float))
    return std::nullopt;
  return *static_cast<const float*>(info.data);
}

// The factor of a node that multiplies by a number, and what it multiplies.
std::optional<std::pair<float, llmh_tensor>> as_factor(const Graph& graph, const llmh_node& node) {
  if (node.op == LLMH_OP_SCALE) return std::pair(attrs_of<llmh_scalar_attrs>(node).value, node.inputs[0]);
  if (node.op == LLMH_OP_MUL)
    for (uint32_t side = 0; side < 2; ++side)
      if (const auto number = number_in(graph, node.inputs[side]))
        return std::pair(*number, node.inputs[1 - side]);
  if (node.op == LLMH_OP_DIV)
    if (const auto number = number_in(graph, node.inputs[1]))
      return std::pair(1.0F / *number, node.inputs[0]);
  return std::nullopt;
}

bool is_frozen_head(const Graph& graph, const llmh_node& node) {
  if (node.op != LLMH_OP_LINEAR || graph.tensor(node.inputs[0]).rank != 2) return false;
  const llmh_tensor bias = input_of(node, 2);
  return graph.tensor(node.inputs[1]).role == LLMH_TENSOR_WEIGHT &&
         (bias == LLMH_NO_TENSOR || graph.tensor(bias).role == LLMH_TENSOR_WEIGHT);
}

// Walks back from the logits; none when they are made in another way.
std::optional<Head> find_head(const Graph& graph, llmh_tensor logits) {
  Head head;
  for (const llmh_node* node = producer_of(graph, logits); node != nullptr;
       node = producer_of(graph, logits)) {
    if (is_frozen_head(graph, *node)) {
      head.linear = node;
      // 0 stands for 1 in the attributes.
      return std::isfinite(head.value) && head.value != 0 ? std::optional(head) : std::nullopt;
    }
    if (const auto factor = as_factor(graph, *node)) {
      head.value *= factor->first;
      logits = factor->second;
    } else if (node->op == LLMH_OP_SOFTCAP && head.softcap == 0 && head.value == 1) {
      head.softcap = attrs_of<llmh_scalar_attrs>(*node).value;
      logits = node->inputs[0];
    } else {
      return std::nullopt;
    }
  }
  return std::nullopt;
}

llmh_tensor add_fused_loss(Rewriter& rewriter, const Head& head, llmh_tensor labels) {
  auto attrs = make_attrs<llmh_head_attrs>();
  attrs.value = head.value;
  attrs.softcap = head.softcap;
  const llmh_node& linear = *head.linear;
  const llmh_tensor inputs[] = {rewriter.map(linear.inputs[0]), rewriter.map(linear.inputs[1]),
                                rewriter.map(input_of(linear, 2)), labels};
  return rewriter.target()
      .add_node(LLMH_OP_LINEAR_CROSS_ENTROPY, to_view(linear.path), inputs, &attrs, sizeof attrs)
      .at(0);
}

void copy_for_training(Rewriter& rewriter, uint32_t index) {
  const llmh_node& node = rewriter.source().node(index);
  if (works_on_state(node.op))
    throw_error(ErrorCode::kUnimplemented,
                "{}{}{}: training has no state of sequences; attention is to be "
                "one of the op attention",
                op_name(node.op), node.path.len > 0 ? " at " : "", to_view(node.path));
  if (node.op != LLMH_OP_ATTENTION) {
    rewriter.copy(index);
    return;
  }
  const auto outputs = rewriter.target().add_node(LLMH_OP_ATTENTION_TRAIN, to_view(node.path),
                                                  rewriter.map(inputs_of(node)), node.attrs, node.attrs_size);
  rewriter.replace(node.outputs[0], outputs[0]);
}

llmh_tensor logits_of(const Graph& graph) {
  const llmh_graph& view = graph.view();
  for (uint32_t i = 0; i < view.n_outputs; ++i)
    if (view.outputs[i]->kind == LLMH_OUTPUT_LOGITS) return view.outputs[i]->tensor;
  throw_invalid("the graph has no output LOGITS to make a loss of");
}

}  // namespace

Graph with_training_loss(const Graph& graph, bool keep_logits) {
  const llmh_tensor logits = logits_of(graph);
  Rewriter rewriter(graph);
  for (uint32_t i = 0; i < graph.node_count(); ++i) copy_for_training(rewriter, i);
  Graph& target = rewriter.target();
  const llmh_tensor labels = target.add_input(LLMH_INPUT_LABELS);
  const auto head = keep_logits ? std::nullopt : find_head(graph, logits);
  if (head) {
    target.add_output(LLMH_OUTPUT_LOSS, add_fused_loss(rewriter, *head, labels));
  } else {
    const llmh_tensor inputs[] = {rewriter.map(logits), labels};
    target.add_output(LLMH_OUTPUT_LOSS, target.add_node(LLMH_OP_CROSS_ENTROPY, {}, inputs).at(0));
  }
  if (keep_logits) target.add_output(LLMH_OUTPUT_LOGITS, rewriter.map(logits));
  return eliminate_dead(target);
}

}  // namespace llmhost::graph
