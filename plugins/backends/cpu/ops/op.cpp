#include "ops/op.h"

#include <algorithm>

namespace llmhost::cpu {

const OpEntry* find_op(llmh_op op) {
  static const OpList kLists[] = {linear_ops(),
                                  expert_ops(),
                                  norm_ops(),
                                  elementwise_ops(),
                                  attention_ops(),
                                  state_ops(),
                                  rope_ops(),
                                  shape_ops(),
                                  table_ops(),
                                  select_ops(),
                                  train_attention_ops(),
                                  gradient_ops(),
                                  reduce_ops(),
                                  product_gradient_ops(),
                                  loss_ops(),
                                  head_loss_ops(),
                                  sum_ops(),
                                  expert_gradient_ops()};
  for (const OpList& list : kLists)
    for (size_t i = 0; i < list.count; ++i)
      if (list.entries[i].op == op) return &list.entries[i];
  return nullptr;
}

bool all_f32(const NodeView& view) {
  for (uint32_t i = 0; i < view.node->n_inputs; ++i)
    if (view.has_input(i) && view.input(i).dtype != LLMH_DTYPE_F32) return false;
  for (uint32_t i = 0; i < view.node->n_outputs; ++i)
    if (view.output(i).dtype != LLMH_DTYPE_F32) return false;
  return true;
}

int64_t constant_size(const llmh_dim& dim) {
  return dim.symbol == LLMH_DIM_CONST ? dim.size : -1;
}

int64_t largest_size(const llmh_dim& dim, const llmh_limits& limits) {
  switch (dim.symbol) {
    case LLMH_DIM_TOKENS:
      return dim.size * limits.max_tokens;
    case LLMH_DIM_SEQUENCES:
      return dim.size * limits.max_sequences;
    case LLMH_DIM_OUTPUTS:
      return dim.size * limits.max_outputs;
    case LLMH_DIM_STATE:
      return dim.size * limits.max_sequences * limits.max_state;
    default:
      return dim.size;
  }
}

int64_t largest_rows(std::span<const llmh_dim> dims, const llmh_limits& limits) {
  int64_t rows = 1;
  for (size_t i = 0; i + 1 < dims.size(); ++i) rows *= largest_size(dims[i], limits);
  return rows;
}

bool has_parameters(const llmh_graph& graph) {
  return std::any_of(graph.tensors, graph.tensors + graph.n_tensors,
                     [](const llmh_tensor_info* tensor) { return tensor->role == LLMH_TENSOR_PARAMETER; });
}

bool is_always_product(const Call&) {
  return true;
}

bool is_decodable(const llmh_tensor_info& tensor) {
  switch (tensor.dtype) {
    case LLMH_DTYPE_F32:
    case LLMH_DTYPE_F16:
    case LLMH_DTYPE_BF16:
    case LLMH_DTYPE_F64:
      return true;
    default: {
      if (tensor.dtype < LLMH_DTYPE_Q4_0 || tensor.dtype >= LLMH_DTYPE_COUNT_ || tensor.rank < 1)
        return false;
      const int64_t row = constant_size(tensor.dims[tensor.rank - 1]);
      return row >= 0 && row % llmh_dtype_layout_of(tensor.dtype).block_elements == 0;
    }
  }
}

int64_t RunContext::units(int32_t symbol) const {
  if (symbol == LLMH_DIM_CONST) return 1;
  if (symbol == window_.symbol) return window_.count;
  if (symbol == LLMH_DIM_TOKENS) return step.n_tokens;
  if (symbol == LLMH_DIM_SEQUENCES) return step.n_sequences;
  if (symbol == LLMH_DIM_OUTPUTS) return step.n_outputs;
  return step.n_state;
}

Shape RunContext::shape(const Operand& operand) const {
  Shape shape;
  shape.rank = operand.rank;
  for (int32_t i = 0; i < operand.rank; ++i) {
    const llmh_dim& dim = operand.dims[i];
    shape.dims[i] = dim.size * units(dim.symbol);
  }
  return shape;
}

uint8_t* RunContext::data(const Operand& operand) const {
  const int32_t* given = nullptr;
  switch (operand.input_kind) {
    case LLMH_INPUT_TOKEN_IDS:
      given = step.token_ids;
      break;
    case LLMH_INPUT_POSITIONS:
      given = step.positions;
      break;
    case LLMH_INPUT_OUTPUT_ROWS:
      given = step.output_rows;
      break;
    case LLMH_INPUT_ROPE_LENGTHS:
      given = step.rope_lengths;
      break;
    case LLMH_INPUT_LABELS:
      given = step.labels;
      break;
    default:
      return operand.data + window_offset(operand);
  }
  return const_cast<uint8_t*>(reinterpret_cast<const uint8_t*>(given)) +  // inputs are only read
         window_offset(operand);
}

}  // namespace llmhost::cpu
