#include "double_eval.h"

#include "core/dequantize.h"
#include "core/error.h"
#include "double_ops.h"
#include "graph/decompose.h"
#include "graph/op_registry.h"

namespace llmhost::graph::test {
namespace {

// What no gradient goes through.
bool is_held(llmh_op op) {
  return op == LLMH_OP_DETACH || op == LLMH_OP_LOW_RANK_ROW_NORMS || op == LLMH_OP_TOP_K_MASK;
}

// Positions and lengths go in, nothing that is differentiated.
bool is_of_the_step(llmh_op op) {
  return op == LLMH_OP_ROPE_ANGLES || op == LLMH_OP_ATTENTION_MASK || op == LLMH_OP_ATTENTION_DISTANCE;
}

}  // namespace

int64_t DoubleTensor::count() const {
  int64_t count = 1;
  for (const int64_t size : sizes) count *= size;
  return count;
}

DoubleRun::DoubleRun(const Graph& graph, const StepData& step)
    : graph_(decompose(graph, [](const Graph&, uint32_t) { return false; })),
      data_(step),
      step_(data_.view()) {
  for (uint32_t i = 0; i < graph_.tensor_count(); ++i)
    tensors_.push_back({sizes_of(static_cast<llmh_tensor>(i)), {}, {}});
  bind_constants();
}

std::vector<int64_t> DoubleRun::sizes_of(llmh_tensor tensor) const {
  std::vector<int64_t> sizes;
  const SymbolValues values = values_of(step_);
  for (const llmh_dim& dim : dims_of(graph_.tensor(tensor))) sizes.push_back(value_of(dim, values));
  return sizes;
}

void DoubleRun::bind_constants() {
  const std::map<int32_t, const int32_t*> inputs = {{LLMH_INPUT_TOKEN_IDS, step_.token_ids},
                                                    {LLMH_INPUT_POSITIONS, step_.positions},
                                                    {LLMH_INPUT_OUTPUT_ROWS, step_.output_rows},
                                                    {LLMH_INPUT_ROPE_LENGTHS, step_.rope_lengths},
                                                    {LLMH_INPUT_LABELS, step_.labels}};
  for (uint32_t i = 0; i < graph_.tensor_count(); ++i) {
    const llmh_tensor_info& info = graph_.tensor(static_cast<llmh_tensor>(i));
    DoubleTensor& tensor = tensors_[i];
    const auto count = static_cast<size_t>(tensor.count());
    if (info.role == LLMH_TENSOR_INPUT) {
      const int32_t* ids = inputs.at(info.input_kind);
      tensor.ids.assign(ids, ids + count);
    } else if (info.role == LLMH_TENSOR_CONSTANT && info.dtype == LLMH_DTYPE_I32) {
      const auto* ids = static_cast<const int32_t*>(info.data);
      tensor.ids.assign(ids, ids + count);
    } else if (info.role == LLMH_TENSOR_CONSTANT) {
      std::vector<float> decoded(count);
      dequantize_row(info.dtype, static_cast<const std::byte*>(info.data), decoded.data(), count);
      tensor.values.assign(decoded.begin(), decoded.end());
    }
  }
}

DoubleTensor& DoubleRun::slot(const std::string& name) {
  const llmh_tensor tensor = graph_.find(name);
  if (tensor == LLMH_NO_TENSOR) throw_invalid("no tensor is named '{}'", name);
  return tensors_[static_cast<size_t>(tensor)];
}

DoubleRun& DoubleRun::set(const std::string& name, const std::vector<double>& values) {
  DoubleTensor& tensor = slot(name);
  REQUIRE(values.size() == static_cast<size_t>(tensor.count()));
  tensor.values = values;
  return *this;
}

DoubleRun& DoubleRun::set(const std::string& name, const std::vector<float>& values) {
  return set(name, std::vector<double>(values.begin(), values.end()));
}

DoubleRun& DoubleRun::set_bytes(const std::string& name, const std::vector<std::byte>& bytes) {
  std::vector<float> decoded(static_cast<size_t>(slot(name).count()));
  dequantize_row(graph_.tensor(graph_.find(name)).dtype, bytes.data(), decoded.data(), decoded.size());
  return set(name, decoded);
}

DoubleRun& DoubleRun::set_ids(const std::string& name, const std::vector<int32_t>& ids) {
  slot(name).ids = ids;
  return *this;
}

std::vector<double>& DoubleRun::values(const std::string& name) {
  return slot(name).values;
}

const DoubleTensor& DoubleRun::tensor(const std::string& name) const {
  return const_cast<DoubleRun*>(this)->slot(name);
}

const std::vector<double>& DoubleRun::output(int32_t kind) const {
  const llmh_graph& view = graph_.view();
  for (uint32_t i = 0; i < view.n_outputs; ++i)
    if (view.outputs[i]->kind == kind) return tensors_[static_cast<size_t>(view.outputs[i]->tensor)].values;
  throw_invalid("the graph has no output {}", kind);
}

void DoubleRun::eval() {
  for (uint32_t i = 0; i < graph_.node_count(); ++i)
    if (is_first_ || !(is_held(graph_.node(i).op) || is_of_the_step(graph_.node(i).op))) eval_node(i);
  is_first_ = false;
}

void DoubleRun::eval_node(uint32_t index) {
  const llmh_node& node = graph_.node(index);
  if (is_of_the_step(node.op)) return eval_through_host(index);
  DoubleCall call{node, step_, {}, {}};
  for (const llmh_tensor input : inputs_of(node)) {
    const auto at = static_cast<size_t>(input);
    call.inputs.push_back(input == LLMH_NO_TENSOR ? nullptr : &tensors_[at]);
    if (input == LLMH_NO_TENSOR || tensors_[at].count() == 0) continue;
    if (tensors_[at].values.empty() && tensors_[at].ids.empty())
      throw_invalid("{}: '{}' has no values", op_name(node.op), to_view(graph_.tensor(input).name));
  }
  for (const llmh_tensor output : outputs_of(node)) {
    DoubleTensor& tensor = tensors_[static_cast<size_t>(output)];
    tensor.values.assign(static_cast<size_t>(tensor.count()), 0.0);
    call.outputs.push_back(&tensor);
  }
  DoubleOp op = double_op(node.op);
  if (op == nullptr) op = double_training_op(node.op);
  if (op == nullptr) throw_invalid("{} is not written down in double", op_name(node.op));
  op(call);
}

void DoubleRun::eval_through_host(uint32_t index) {
  const llmh_node& node = graph_.node(index);
  std::vector<std::vector<float>> memory(graph_.tensor_count());
  std::vector<void*> pointers(graph_.tensor_count(), nullptr);
  const auto bind = [&](llmh_tensor tensor) {
    if (tensor == LLMH_NO_TENSOR || graph_.tensor(tensor).role == LLMH_TENSOR_INPUT) return;
    const auto at = static_cast<size_t>(tensor);
    memory[at].assign(tensors_[at].values.begin(), tensors_[at].values.end());
    memory[at].resize(static_cast<size_t>(tensors_[at].count()));
    pointers[at] = memory[at].data();
  };
  for (const llmh_tensor input : inputs_of(node)) bind(input);
  for (const llmh_tensor output : outputs_of(node)) bind(output);
  graph::eval_node({graph_.view(), pointers.data(), step_}, index);
  for (const llmh_tensor output : outputs_of(node)) {
    const auto at = static_cast<size_t>(output);
    tensors_[at].values.assign(memory[at].begin(), memory[at].end());
  }
}

}  // namespace llmhost::graph::test
