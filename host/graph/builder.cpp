#include "graph/builder.h"

#include <cmath>

#include "graph/op_registry.h"
#include "plugin/status.h"
#include "plugin/thread_tags.h"

namespace llmhost::graph {
namespace {

// 'name', and what the architecture calls it where the file calls it otherwise.
std::string both_names(const WeightLookup& weights, std::string_view name) {
  const std::string stored = weights.stored_name(name);
  return stored == name ? fmt::format("'{}'", name) : fmt::format("'{}' ({})", stored, name);
}

std::string shape_text(std::span<const int64_t> shape) {
  Dims dims;
  for (const int64_t size : shape) dims.push_back(constant_dim(size));
  return to_text(dims);
}

std::span<const int64_t> checked_shape(const int64_t* shape, int32_t rank, std::string_view name) {
  if (rank < 0 || rank > LLMH_MAX_RANK)
    throw_invalid("tensor '{}': rank {} is outside 0 to {}", name, rank, int{LLMH_MAX_RANK});
  if (shape == nullptr && rank > 0) throw_invalid("tensor '{}': the shape is a null pointer", name);
  return {shape, static_cast<size_t>(rank)};
}

ParameterInit data_init(std::string_view name, std::span<const int64_t> shape, const float* data) {
  Dims dims;
  for (const int64_t size : shape) dims.push_back(constant_dim(size));
  const uint64_t n = byte_count(LLMH_DTYPE_F32, dims, {}) / sizeof(float);
  if (data == nullptr && n > 0) throw_invalid("parameter '{}': the data is a null pointer", name);
  ParameterInit init{LLMH_INIT_DATA, 0, {data, data + n}};
  for (const float value : init.data)
    if (!std::isfinite(value)) throw_invalid("parameter '{}': a value that is not finite", name);
  return init;
}

template <typename T>
void check_out(const T* out) {
  if (out == nullptr) throw_invalid("the output pointer of a builder call is null");
}

}  // namespace

// The functions of the table. Each gives the call to the GraphBuilder behind the table and turns what it
// throws into a status.
struct GraphBuilder::Thunks {
  static GraphBuilder& self(llmh_builder* table) { return *reinterpret_cast<Table*>(table)->owner; }

  static llmh_status* input(llmh_builder* table, int32_t kind, llmh_tensor* out) {
    return plugin::guard([&] {
      const plugin::ControlScope scope(table, "llmh_builder.input");
      check_out(out);
      *out = self(table).graph_.add_input(kind);
    });
  }

  static llmh_status* weight(llmh_builder* table, llmh_str name, const int64_t* shape, int32_t rank,
                             uint32_t flags, llmh_tensor* out) {
    return plugin::guard([&] {
      const plugin::ControlScope scope(table, "llmh_builder.weight");
      check_out(out);
      *out = self(table).weight(to_view(name), checked_shape(shape, rank, to_view(name)), flags);
    });
  }

  static llmh_status* constant(llmh_builder* table, llmh_str name, llmh_dtype dtype, const int64_t* shape,
                               int32_t rank, const void* data, uint64_t bytes, llmh_tensor* out) {
    return plugin::guard([&] {
      const plugin::ControlScope scope(table, "llmh_builder.constant");
      check_out(out);
      if (data == nullptr && bytes > 0) throw_invalid("constant '{}' has no data", to_view(name));
      if (is_quantised(dtype))
        throw_invalid("constant '{}' is {}: constants have plain types", to_view(name), dtype_name(dtype));
      const std::span content(static_cast<const std::byte*>(data), static_cast<size_t>(bytes));
      *out = self(table).graph_.add_constant(to_view(name), dtype, checked_shape(shape, rank, to_view(name)),
                                             content);
    });
  }

  static llmh_status* parameter(llmh_builder* table, llmh_str name, const int64_t* shape, int32_t rank,
                                int32_t init, float init_value, llmh_tensor* out) {
    return plugin::guard([&] {
      const plugin::ControlScope scope(table, "llmh_builder.parameter");
      check_out(out);
      if (init == LLMH_INIT_DATA)
        throw_invalid("parameter '{}': LLMH_INIT_DATA is for llmh_builder.parameter_data", to_view(name));
      *out = self(table).parameter(to_view(name), checked_shape(shape, rank, to_view(name)),
                                   {init, init_value, {}});
    });
  }

  static llmh_status* parameter_data(llmh_builder* table, llmh_str name, const int64_t* shape, int32_t rank,
                                     const float* data, llmh_tensor* out) {
    return plugin::guard([&] {
      const plugin::ControlScope scope(table, "llmh_builder.parameter_data");
      check_out(out);
      const auto sizes = checked_shape(shape, rank, to_view(name));
      *out = self(table).parameter(to_view(name), sizes, data_init(to_view(name), sizes, data));
    });
  }

  static llmh_status* add_node(llmh_builder* table, llmh_op op, llmh_str path, const llmh_tensor* inputs,
                               uint32_t n_inputs, const void* attrs, uint32_t attrs_size,
                               llmh_tensor* outputs, uint32_t n_outputs) {
    return plugin::guard([&] {
      const plugin::ControlScope scope(table, "llmh_builder.add_node");
      const OpSpec* spec = find_op(op);
      if (spec != nullptr && n_outputs != spec->n_outputs)
        throw_invalid("{} at {}: it has {} outputs, {} are asked for", spec->name, to_view(path),
                      spec->n_outputs, n_outputs);
      if (inputs == nullptr && n_inputs > 0) throw_invalid("{}: the inputs are a null pointer", op_name(op));
      if (outputs == nullptr && n_outputs > 0)
        throw_invalid("{}: the outputs are a null pointer", op_name(op));
      const auto made =
          self(table).graph_.add_node(op, to_view(path), std::span(inputs, n_inputs), attrs, attrs_size);
      for (size_t i = 0; i < made.size(); ++i) outputs[i] = made[i];
    });
  }

  static llmh_status* name(llmh_builder* table, llmh_tensor tensor, llmh_str text) {
    return plugin::guard([&] {
      const plugin::ControlScope scope(table, "llmh_builder.name");
      Graph& graph = self(table).graph_;
      if (graph.tensor(tensor).role != LLMH_TENSOR_ACTIVATION)
        throw_invalid("'{}' cannot be renamed to '{}': only activations can",
                      to_view(graph.tensor(tensor).name), to_view(text));
      graph.set_name(tensor, to_view(text));
    });
  }

  static llmh_status* output(llmh_builder* table, int32_t kind, llmh_tensor tensor) {
    return plugin::guard([&] {
      const plugin::ControlScope scope(table, "llmh_builder.output");
      self(table).graph_.add_output(kind, tensor);
    });
  }

  static const llmh_tensor_info* info(llmh_builder* table, llmh_tensor tensor) {
    const Graph& graph = self(table).graph_;
    if (tensor < 0 || static_cast<uint32_t>(tensor) >= graph.tensor_count()) return nullptr;
    return &graph.tensor(tensor);
  }
};

GraphBuilder::GraphBuilder(Graph& graph, const WeightLookup& weights, BuilderMode mode)
    : graph_(graph), weights_(weights), mode_(mode), table_{} {
  table_.owner = this;
  table_.base = {sizeof(llmh_builder), LLMH_OPSET_VERSION, Thunks::input,         Thunks::weight,
                 Thunks::constant,     Thunks::parameter,  Thunks::add_node,      Thunks::name,
                 Thunks::output,       Thunks::info,       Thunks::parameter_data};
}

llmh_tensor GraphBuilder::weight(std::string_view name, std::span<const int64_t> shape, uint32_t flags) {
  if ((flags & ~uint32_t{LLMH_WEIGHT_OPTIONAL}) != 0)
    throw_invalid("weight '{}': flags {} are unknown", name, flags);
  const auto info = weights_.find(name);
  if (!info) {
    if ((flags & LLMH_WEIGHT_OPTIONAL) != 0) return LLMH_NO_TENSOR;
    throw_error(ErrorCode::kNotFound, "the checkpoint has no tensor {}, which should be {}",
                both_names(weights_, name), shape_text(shape));
  }
  if (!std::equal(shape.begin(), shape.end(), info->shape.begin(), info->shape.end()))
    throw_invalid("tensor {} is {} in the checkpoint, the config makes it {}", both_names(weights_, name),
                  shape_text(info->shape), shape_text(shape));
  // Vectors (norms, biases, slopes) are handed to backends decoded, whatever the checkpoint has.
  const bool decoded = shape.size() <= 1 && is_float(info->dtype);
  return graph_.add_weight(name, decoded ? LLMH_DTYPE_F32 : info->dtype, shape);
}

llmh_tensor GraphBuilder::parameter(std::string_view name, std::span<const int64_t> shape,
                                    const ParameterInit& init) {
  if (mode_ != BuilderMode::kRewrite)
    throw_error(ErrorCode::kFailedPrecondition,
                "parameter '{}': an architecture has no trainable tensors of its own", name);
  return graph_.add_parameter(name, shape, init);
}

}  // namespace llmhost::graph
