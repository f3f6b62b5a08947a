#include "graph/autodiff/saving.h"

#include <algorithm>

#include "graph/autodiff/minimum_cut.h"

namespace llmhost::graph {
namespace {

// Sizes are compared for a step of this many tokens.
constexpr SymbolValues kTypicalStep = {1024, 4, 1024, 1024};
// Rows up to this wide (angles, statistics, low-rank products) stay f32.
constexpr int64_t kNarrowRow = 128;

bool is_cheap(llmh_op op) {
  switch (op) {
    case LLMH_OP_EMBEDDING:
    case LLMH_OP_RMS_NORM:
    case LLMH_OP_LAYER_NORM:
    case LLMH_OP_ROPE:
    case LLMH_OP_ACTIVATION:
    case LLMH_OP_GATED_ACTIVATION:
    case LLMH_OP_SOFTCAP:
    case LLMH_OP_SCALE:
    case LLMH_OP_SOFTMAX:
    case LLMH_OP_ADD:
    case LLMH_OP_SUB:
    case LLMH_OP_MUL:
    case LLMH_OP_DIV:
    case LLMH_OP_UNARY:
    case LLMH_OP_REDUCE:
    case LLMH_OP_RESHAPE:
    case LLMH_OP_PERMUTE:
    case LLMH_OP_SLICE:
    case LLMH_OP_CONCAT:
    case LLMH_OP_BROADCAST:
    case LLMH_OP_GATHER:
    case LLMH_OP_CAST:
    case LLMH_OP_TAKE:
    case LLMH_OP_TOP_K_MASK:
    case LLMH_OP_CLAMP:
    case LLMH_OP_REDUCE_TO:
    case LLMH_OP_PAD:
    case LLMH_OP_SCATTER_LAST:
    case LLMH_OP_DETACH:
    case LLMH_OP_DROPOUT:
      return true;
    default:
      return false;
  }
}

bool is_loss(llmh_op op) {
  return op == LLMH_OP_CROSS_ENTROPY || op == LLMH_OP_LINEAR_CROSS_ENTROPY;
}

bool is_activation(const Graph& graph, llmh_tensor tensor) {
  return tensor != LLMH_NO_TENSOR && graph.tensor(tensor).producer >= 0;
}

// As many elements in every step: made of weights, or sums over all rows.
bool has_fixed_size(const llmh_tensor_info& info) {
  return std::ranges::all_of(dims_of(info), [](const llmh_dim& dim) { return dim.symbol == LLMH_DIM_CONST; });
}

bool reads_attention(const Graph& graph, const llmh_node& node) {
  return std::ranges::any_of(inputs_of(node), [&](llmh_tensor input) {
    return is_activation(graph, input) &&
           graph.node(static_cast<uint32_t>(graph.tensor(input).producer)).op == LLMH_OP_ATTENTION_TRAIN;
  });
}

// Whether a checkpointed layer waits with what the node gives: the work of attention grows with the square of
// the tokens, its result does not, and is what the product after it would be made of.
bool is_worth_keeping(const Graph& graph, const llmh_node& node) {
  return node.op == LLMH_OP_ATTENTION_TRAIN || (!is_cheap(node.op) && reads_attention(graph, node));
}

// Whether the tensor may be computed again from the inputs of its node. What one layer leaves to the next is
// where a checkpointed layer begins; the last one's values are needed at once; what does not grow with the
// tokens is not worth a product.
bool may_run_again(const Graph& graph, llmh_tensor tensor, const Layers& layers, bool checkpoint_layers) {
  const auto producer = static_cast<uint32_t>(graph.tensor(tensor).producer);
  const llmh_node& node = graph.node(producer);
  if (!checkpoint_layers) return is_cheap(node.op);
  if (layers.crosses(tensor) || is_loss(node.op)) return false;
  if (is_cheap(node.op)) return true;
  const int32_t layer = layers.of_node(producer);
  if (layer == kNoLayer || layer + 1 == layers.count()) return false;
  return !has_fixed_size(graph.tensor(tensor)) && !is_worth_keeping(graph, node);
}

int64_t row_width(const llmh_tensor_info& info) {
  int64_t width = 1;
  for (const llmh_dim& dim : dims_of(info))
    if (dim.symbol == LLMH_DIM_CONST) width *= dim.size;
  return width;
}

// Sums of scores are exponents, and what the loss reads is gone before the next tensor is needed.
bool waits_exactly(const Graph& graph, llmh_tensor tensor) {
  const llmh_node& node = graph.node(static_cast<uint32_t>(graph.tensor(tensor).producer));
  return is_loss(node.op) || (node.op == LLMH_OP_ATTENTION_TRAIN && node.outputs[1] == tensor);
}

std::vector<bool> read_by_loss(const Graph& graph) {
  std::vector<bool> is_read(graph.tensor_count(), false);
  for (uint32_t i = 0; i < graph.node_count(); ++i)
    if (is_loss(graph.node(i).op))
      for (const llmh_tensor input : inputs_of(graph.node(i)))
        if (input != LLMH_NO_TENSOR) is_read[static_cast<size_t>(input)] = true;
  return is_read;
}

void choose_types(const Graph& graph, llmh_dtype dtype, SavePlan& plan) {
  const auto by_loss = read_by_loss(graph);
  for (size_t t = 0; t < plan.kept.size(); ++t) {
    const auto tensor = static_cast<llmh_tensor>(t);
    if (!plan.kept[t] || by_loss[t] || waits_exactly(graph, tensor)) continue;
    const llmh_tensor_info& info = graph.tensor(tensor);
    if (info.dtype == LLMH_DTYPE_F32 && row_width(info) > kNarrowRow) plan.stored_as[t] = dtype;
  }
}

}  // namespace

SavePlan keep_everything(const Graph& graph) {
  return {std::vector<bool>(graph.tensor_count(), true),
          std::vector<llmh_dtype>(graph.tensor_count(), LLMH_DTYPE_F32)};
}

// Tensor t is the vertices 2 t and 2 t + 1; the edge between them is cut when it is kept.
SavePlan plan_saving(const Graph& graph, const std::vector<bool>& wanted, const Layers& layers,
                     const DifferentiateOptions& options) {
  const size_t n_tensors = graph.tensor_count();
  const size_t source = 2 * n_tensors;
  const size_t sink = source + 1;
  MinimumCut cut(sink + 1);
  for (size_t t = 0; t < n_tensors; ++t) {
    const auto tensor = static_cast<llmh_tensor>(t);
    if (!is_activation(graph, tensor)) continue;
    const llmh_tensor_info& info = graph.tensor(tensor);
    const uint64_t bytes = byte_count(info.dtype, dims_of(info), kTypicalStep);
    cut.add_edge(2 * t, 2 * t + 1, static_cast<int64_t>(std::min<uint64_t>(bytes, uint64_t{1} << 50) + 1));
    if (wanted[t]) cut.add_edge(2 * t + 1, sink, MinimumCut::kInfinite);
    if (!may_run_again(graph, tensor, layers, options.checkpoint_layers)) {
      cut.add_edge(source, 2 * t, MinimumCut::kInfinite);
      continue;
    }
    for (const llmh_tensor input : inputs_of(graph.node(static_cast<uint32_t>(info.producer))))
      if (is_activation(graph, input))
        cut.add_edge(2 * static_cast<size_t>(input) + 1, 2 * t, MinimumCut::kInfinite);
  }
  const auto reaches = cut.sink_side(source, sink);
  SavePlan plan = keep_everything(graph);
  for (size_t t = 0; t < n_tensors; ++t) plan.kept[t] = !reaches[2 * t] && reaches[2 * t + 1];
  if (options.saved_dtype != LLMH_DTYPE_F32) choose_types(graph, options.saved_dtype, plan);
  return plan;
}

}  // namespace llmhost::graph
