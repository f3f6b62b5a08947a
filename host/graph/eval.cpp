#include "graph/eval.h"

#include "core/dequantize.h"
#include "graph/op_registry.h"

namespace llmhost::graph::eval {
namespace {

const void* step_input(const llmh_step& step, int32_t kind) {
  switch (kind) {
    case LLMH_INPUT_TOKEN_IDS:
      return step.token_ids;
    case LLMH_INPUT_POSITIONS:
      return step.positions;
    case LLMH_INPUT_OUTPUT_ROWS:
      return step.output_rows;
    case LLMH_INPUT_ROPE_LENGTHS:
      return step.rope_lengths;
    case LLMH_INPUT_LABELS:
      return step.labels;
    default:
      return nullptr;
  }
}

}  // namespace

void* data_of(const Evaluation& evaluation, llmh_tensor tensor) {
  const llmh_tensor_info& info = *evaluation.graph.tensors[tensor];
  const void* data = evaluation.tensors[tensor];
  if (data == nullptr && info.role == LLMH_TENSOR_CONSTANT) data = info.data;
  if (data == nullptr && info.role == LLMH_TENSOR_INPUT) data = step_input(evaluation.step, info.input_kind);
  // Inputs are only read; one type for both keeps the evaluators short.
  return const_cast<void*>(data);
}

Floats::Floats(const Operand& operand) : data_(reinterpret_cast<const float*>(operand.data)) {
  if (operand.dtype == LLMH_DTYPE_F32) return;
  decoded_.resize(static_cast<size_t>(operand.count));
  dequantize_row(operand.dtype, operand.data, decoded_.data(), decoded_.size());
  data_ = decoded_.data();
}

NodeCall::NodeCall(const Evaluation& evaluation, uint32_t node)
    : evaluation_(evaluation), node_(*evaluation.graph.nodes[node]) {
  for (const llmh_tensor input : inputs_of(node_))
    inputs_.push_back(input == LLMH_NO_TENSOR ? Operand{} : operand(input));
  for (const llmh_tensor output : outputs_of(node_)) outputs_.push_back(operand(output));
}

Operand NodeCall::operand(llmh_tensor tensor) const {
  const llmh_tensor_info& info = *evaluation_.graph.tensors[tensor];
  Operand result;
  result.dtype = info.dtype;
  const SymbolValues values = values_of(evaluation_.step);
  for (const llmh_dim& dim : dims_of(info)) result.sizes.push_back(value_of(dim, values));
  result.count = element_count(dims_of(info), values);
  result.data = static_cast<std::byte*>(data_of(evaluation_, tensor));
  if (result.data == nullptr && result.count > 0)
    fail(ErrorCode::kInternal, fmt::format("tensor '{}' has no data", to_view(info.name)));
  return result;
}

int32_t NodeCall::row_symbol(uint32_t index) const {
  const llmh_tensor_info& info = *evaluation_.graph.tensors[input_of(node_, index)];
  return info.rank > 0 ? info.dims[0].symbol : LLMH_DIM_CONST;
}

NodeCall::State NodeCall::state(int32_t slot) const {
  for (uint32_t i = 0; i < evaluation_.n_states; ++i)
    if (evaluation_.states[i]->slot == slot)
      return {evaluation_.states[i], static_cast<std::byte*>(evaluation_.state_data[i])};
  fail(ErrorCode::kInvalidArgument, fmt::format("no state is bound to slot {}", slot));
}

void NodeCall::fail(ErrorCode code, const std::string& message) const {
  const std::string_view path = to_view(node_.path);
  throw_error(code, "{}{}{}: {}", op_name(node_.op), path.empty() ? "" : " at ", path, message);
}

int64_t product(std::span<const int64_t> sizes) {
  int64_t count = 1;
  for (const int64_t size : sizes) count *= size;
  return count;
}

Sizes strides_over(const Sizes& sizes, const Sizes& result) {
  Sizes strides(result.size(), 0);
  int64_t stride = 1;
  for (size_t i = 0; i < sizes.size(); ++i) {
    const size_t from_end = sizes.size() - 1 - i;
    const size_t at = result.size() - 1 - i;
    if (sizes[from_end] == result[at] && sizes[from_end] != 1) strides[at] = stride;
    stride *= sizes[from_end];
  }
  return strides;
}

}  // namespace llmhost::graph::eval
