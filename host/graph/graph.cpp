#include "graph/graph.h"

#include <bit>
#include <cstring>
#include <new>

#include "core/error.h"
#include "graph/op_registry.h"

namespace llmhost::graph {
namespace {

constexpr size_t kAlignment = 64;

struct AlignedDelete {
  void operator()(std::byte* bytes) const { ::operator delete[](bytes, std::align_val_t{kAlignment}); }
};
using AlignedBytes = std::unique_ptr<std::byte[], AlignedDelete>;

AlignedBytes copy_aligned(std::span<const std::byte> data) {
  AlignedBytes copy(new (std::align_val_t{kAlignment}) std::byte[data.size() + 1]);
  if (!data.empty()) std::memcpy(copy.get(), data.data(), data.size());
  return copy;
}

TensorType constant_type(llmh_dtype dtype, std::span<const int64_t> shape, std::string_view name) {
  if (shape.size() > LLMH_MAX_RANK)
    throw_invalid("tensor '{}' has {} dimensions, the most is {}", name, shape.size(), int{LLMH_MAX_RANK});
  TensorType type{dtype, {}};
  for (const int64_t size : shape) {
    if (size < 0) throw_invalid("tensor '{}' has a dimension of {}", name, size);
    type.dims.push_back(constant_dim(size));
  }
  return type;
}

std::string_view input_name(int32_t kind) {
  switch (kind) {
    case LLMH_INPUT_TOKEN_IDS:
      return "token_ids";
    case LLMH_INPUT_POSITIONS:
      return "positions";
    case LLMH_INPUT_OUTPUT_ROWS:
      return "output_rows";
    case LLMH_INPUT_ROPE_LENGTHS:
      return "rope_lengths";
    case LLMH_INPUT_LABELS:
      return "labels";
    default:
      throw_invalid("step input {} is unknown: LLMH_INPUT_* goes from 1 to 5", kind);
  }
}

}  // namespace

struct Graph::Tensor {
  llmh_tensor_info info{};
  std::string name;
  bool default_name = false;
  AlignedBytes data;
};

struct Graph::Node {
  llmh_node node{};
  std::string path;
  std::vector<llmh_tensor> inputs;
  std::vector<llmh_tensor> outputs;
  AttrsStorage attrs;
};

Graph::Graph() : view_(std::make_unique<llmh_graph>()) {
  refresh_view();
}
Graph::~Graph() = default;
Graph::Graph(Graph&&) noexcept = default;
Graph& Graph::operator=(Graph&&) noexcept = default;

void Graph::refresh_view() {
  view_->struct_size = sizeof(llmh_graph);
  view_->tensors = tensor_view_.data();
  view_->n_tensors = static_cast<uint32_t>(tensor_view_.size());
  view_->nodes = node_view_.data();
  view_->n_nodes = static_cast<uint32_t>(node_view_.size());
  view_->outputs = output_view_.data();
  view_->n_outputs = static_cast<uint32_t>(output_view_.size());
}

void Graph::check_name(std::string_view name) const {
  if (name.empty()) throw_invalid("a tensor's name is empty");
  if (by_name_.contains(std::string(name))) throw_invalid("two tensors are named '{}'", name);
}

llmh_tensor Graph::append_tensor(int32_t role, std::string_view name, const TensorType& type) {
  if (tensors_.size() >= INT32_MAX) throw_error(ErrorCode::kResourceExhausted, "too many tensors in a graph");
  const auto index = static_cast<llmh_tensor>(tensors_.size());
  auto tensor = std::make_unique<Tensor>();
  tensor->default_name = name.empty();
  tensor->name = name.empty() ? fmt::format("%{}", index) : std::string(name);
  check_name(tensor->name);
  llmh_tensor_info& info = tensor->info;
  info.struct_size = sizeof(info);
  info.role = role;
  info.dtype = type.dtype;
  info.rank = static_cast<int32_t>(type.dims.size());
  for (size_t i = 0; i < type.dims.size(); ++i) info.dims[i] = type.dims[i];
  info.producer = -1;
  info.name = to_str(tensor->name);
  by_name_.emplace(tensor->name, index);
  tensor_view_.push_back(&info);
  tensors_.push_back(std::move(tensor));
  refresh_view();
  return index;
}

llmh_tensor Graph::add_input(int32_t kind) {
  const std::string_view name = input_name(kind);
  if (const auto known = inputs_.find(kind); known != inputs_.end()) return known->second;
  const bool by_output = kind == LLMH_INPUT_OUTPUT_ROWS || kind == LLMH_INPUT_LABELS;
  const int32_t symbol = by_output ? LLMH_DIM_OUTPUTS : LLMH_DIM_TOKENS;
  const llmh_tensor tensor = append_tensor(LLMH_TENSOR_INPUT, name, {LLMH_DTYPE_I32, {symbol_dim(symbol)}});
  tensors_[static_cast<size_t>(tensor)]->info.input_kind = kind;
  inputs_.emplace(kind, tensor);
  return tensor;
}

llmh_tensor Graph::add_weight(std::string_view name, llmh_dtype dtype, std::span<const int64_t> shape) {
  const TensorType type = constant_type(dtype, shape, name);
  if (const llmh_tensor known = find(name); known != LLMH_NO_TENSOR) {
    const llmh_tensor_info& info = tensor(known);
    if (info.role != LLMH_TENSOR_WEIGHT) throw_invalid("'{}' is already the name of another tensor", name);
    if (!same_dims(dims_of(info), type.dims))
      throw_invalid("weight '{}' is asked for as {} and as {}", name, to_text(dims_of(info)),
                    to_text(type.dims));
    return known;
  }
  byte_count(dtype, type.dims, {});  // refuses what has no size
  return append_tensor(LLMH_TENSOR_WEIGHT, name, type);
}

llmh_tensor Graph::add_parameter(std::string_view name, std::span<const int64_t> shape,
                                 const ParameterInit& init) {
  if (init.kind < LLMH_INIT_ZEROS || init.kind > LLMH_INIT_DATA)
    throw_invalid("parameter '{}': initialisation {} is unknown: LLMH_INIT_* goes from 1 to 5", name,
                  init.kind);
  const TensorType type = constant_type(LLMH_DTYPE_F32, shape, name);
  const uint64_t wanted = init.kind == LLMH_INIT_DATA ? byte_count(LLMH_DTYPE_F32, type.dims, {}) : 0;
  if (init.data.size() * sizeof(float) != wanted)
    throw_invalid("parameter '{}' of {}: {} values are given to start from", name, to_text(type.dims),
                  init.data.size());
  if (const llmh_tensor known = find(name); known != LLMH_NO_TENSOR) {
    const llmh_tensor_info& info = tensor(known);
    if (info.role != LLMH_TENSOR_PARAMETER) check_name(name);
    if (!same_dims(dims_of(info), type.dims) || parameters_.at(known) != init)
      throw_invalid("parameter '{}' is asked for twice, with another shape or start", name);
    return known;
  }
  check_name(name);
  const llmh_tensor tensor = append_tensor(LLMH_TENSOR_PARAMETER, name, type);
  parameters_.emplace(tensor, init);
  return tensor;
}

llmh_tensor Graph::add_constant(std::string_view name, llmh_dtype dtype, std::span<const int64_t> shape,
                                std::span<const std::byte> data) {
  const TensorType type = constant_type(dtype, shape, name);
  const uint64_t bytes = byte_count(dtype, type.dims, {});
  if (bytes != data.size())
    throw_invalid("constant '{}' of {}{} takes {} bytes, {} are given", name, dtype_name(dtype),
                  to_text(type.dims), bytes, data.size());
  AlignedBytes copy = copy_aligned(data);
  const llmh_tensor index = append_tensor(LLMH_TENSOR_CONSTANT, name, type);
  Tensor& tensor = *tensors_[static_cast<size_t>(index)];
  tensor.data = std::move(copy);
  tensor.info.data = tensor.data.get();
  tensor.info.data_bytes = bytes;
  return index;
}

llmh_tensor Graph::scalar(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  if (const auto known = scalars_.find(bits); known != scalars_.end()) return known->second;
  const llmh_tensor tensor = add_constant({}, LLMH_DTYPE_F32, {}, std::as_bytes(std::span(&value, 1)));
  scalars_.emplace(bits, tensor);
  return tensor;
}

llmh_tensor Graph::add_placeholder(const TensorType& type) {
  return append_tensor(LLMH_TENSOR_ACTIVATION, {}, type);
}

std::vector<llmh_tensor> Graph::add_node(llmh_op op, std::string_view path,
                                         std::span<const llmh_tensor> inputs, const void* attrs,
                                         size_t attrs_size) {
  const OpSpec* spec = find_op(op);
  if (spec == nullptr)
    throw_error(ErrorCode::kUnimplemented, "op {} is newer than this host's op set (version {})", op,
                LLMH_OPSET_VERSION);
  auto record = std::make_unique<Node>();
  record->attrs = copy_attrs(*spec, path, attrs, attrs_size);
  record->path = path;
  record->inputs.assign(inputs.begin(), inputs.end());
  std::deque<TensorType> types;
  std::vector<const TensorType*> operands;
  for (const llmh_tensor input : inputs) {
    if (input == LLMH_NO_TENSOR) {
      operands.push_back(nullptr);
      continue;
    }
    if (input < 0 || static_cast<size_t>(input) >= tensors_.size())
      throw_invalid("{} at {}: input {} is no tensor of the graph", spec->name, path, input);
    operands.push_back(&types.emplace_back(type_of(tensor(input))));
  }
  const auto outputs = infer_outputs(*spec, path, operands, record->attrs.bytes.get());
  if (op == LLMH_OP_ACCUMULATE && tensor(inputs[0]).role != LLMH_TENSOR_PARAMETER)
    throw_invalid("{} at {}: sum is '{}', it must be a parameter", spec->name, path,
                  to_view(tensor(inputs[0]).name));
  const auto index = static_cast<int32_t>(nodes_.size());
  for (const TensorType& type : outputs) {
    const llmh_tensor output = append_tensor(LLMH_TENSOR_ACTIVATION, {}, type);
    tensors_[static_cast<size_t>(output)]->info.producer = index;
    record->outputs.push_back(output);
  }
  llmh_node& node = record->node;
  node.struct_size = sizeof(node);
  node.op = op;
  node.inputs = record->inputs.data();
  node.outputs = record->outputs.data();
  node.n_inputs = static_cast<uint32_t>(record->inputs.size());
  node.n_outputs = static_cast<uint32_t>(record->outputs.size());
  node.attrs = record->attrs.bytes.get();
  node.attrs_size = spec->attrs_size;
  node.path = to_str(record->path);
  std::vector<llmh_tensor> result = record->outputs;
  node_view_.push_back(&node);
  nodes_.push_back(std::move(record));
  refresh_view();
  return result;
}

void Graph::set_name(llmh_tensor index, std::string_view name) {
  tensor(index);  // checks the index
  Tensor& record = *tensors_[static_cast<size_t>(index)];
  if (record.name == name) return;
  check_name(name);
  by_name_.erase(record.name);
  record.name = name;
  record.default_name = false;
  record.info.name = to_str(record.name);
  by_name_.emplace(record.name, index);
}

void Graph::add_output(int32_t kind, llmh_tensor index) {
  const llmh_tensor_info& info = tensor(index);
  const auto dims = dims_of(info);
  if (kind == LLMH_OUTPUT_LOGITS || kind == LLMH_OUTPUT_HIDDEN) {
    if (info.dtype != LLMH_DTYPE_F32 || dims.size() != 2 || !same_dim(dims[0], symbol_dim(LLMH_DIM_OUTPUTS)))
      throw_invalid(
          "graph output {}: the tensor is {}{}, it must be f32[R,...]: gather the output rows first",
          kind == LLMH_OUTPUT_LOGITS ? "logits" : "hidden", dtype_name(info.dtype), to_text(dims));
  }
  if (kind == LLMH_OUTPUT_LOSS &&
      (info.dtype != LLMH_DTYPE_F32 || dims.size() != 1 || !same_dim(dims[0], symbol_dim(LLMH_DIM_OUTPUTS))))
    throw_invalid("graph output loss: the tensor is {}{}, it must be f32[R]", dtype_name(info.dtype),
                  to_text(dims));
  for (const auto& output : outputs_)
    if (output->kind == kind) throw_invalid("graph output {} is given twice", kind);
  outputs_.push_back(std::make_unique<llmh_graph_output>());
  *outputs_.back() = {sizeof(llmh_graph_output), kind, index};
  output_view_.push_back(outputs_.back().get());
  refresh_view();
}

void Graph::set_weight_dtype(llmh_tensor weight, llmh_dtype dtype) {
  const llmh_tensor_info& info = tensor(weight);
  if (info.role != LLMH_TENSOR_WEIGHT) throw_invalid("'{}' is no weight", to_view(info.name));
  byte_count(dtype, dims_of(info), {});
  tensors_[static_cast<size_t>(weight)]->info.dtype = dtype;
}

const llmh_graph& Graph::view() const {
  return *view_;
}
uint32_t Graph::tensor_count() const {
  return static_cast<uint32_t>(tensors_.size());
}
uint32_t Graph::node_count() const {
  return static_cast<uint32_t>(nodes_.size());
}

const llmh_tensor_info& Graph::tensor(llmh_tensor index) const {
  if (index < 0 || static_cast<size_t>(index) >= tensors_.size())
    throw_error(ErrorCode::kOutOfRange, "tensor {} is not in the graph, which has {}", index,
                tensors_.size());
  return tensors_[static_cast<size_t>(index)]->info;
}

const llmh_node& Graph::node(uint32_t index) const {
  if (index >= nodes_.size())
    throw_error(ErrorCode::kOutOfRange, "node {} is not in the graph, which has {}", index, nodes_.size());
  return nodes_[index]->node;
}

llmh_tensor Graph::find(std::string_view name) const {
  const auto found = by_name_.find(std::string(name));
  return found == by_name_.end() ? LLMH_NO_TENSOR : found->second;
}

const ParameterInit& Graph::parameter_init(llmh_tensor parameter) const {
  const auto found = parameters_.find(parameter);
  if (found == parameters_.end()) throw_invalid("tensor {} is no parameter", parameter);
  return found->second;
}

bool Graph::has_default_name(llmh_tensor index) const {
  tensor(index);
  return tensors_[static_cast<size_t>(index)]->default_name;
}

}  // namespace llmhost::graph
