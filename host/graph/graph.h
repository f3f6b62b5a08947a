// The graph of a model: tensors, nodes, names and small constants, appended to and never edited. Node order
// is execution order; every input is made before it is used. The graph owns every byte that its C view points
// at.
//
// Appending throws llmhost::Error (op and module path in the message) and leaves the graph as it was. A graph
// that is no longer appended to may be read from any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "graph/types.h"
#include "llmhost/op.h"

namespace llmhost::graph {

// How a trainable tensor starts.
struct ParameterInit {
  int32_t kind = LLMH_INIT_ZEROS;  // LLMH_INIT_*
  float value = 0;
  std::vector<float> data{};  // of LLMH_INIT_DATA: as many as the tensor has
  bool operator==(const ParameterInit&) const = default;
};

class Graph {
 public:
  Graph();
  ~Graph();
  Graph(Graph&&) noexcept;
  Graph& operator=(Graph&&) noexcept;
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;

  // --- Appending ---
  // The same kind gives the same tensor.
  llmh_tensor add_input(int32_t kind);
  // The same name gives the same tensor; another shape than before is an error.
  llmh_tensor add_weight(std::string_view name, llmh_dtype dtype, std::span<const int64_t> shape);
  // The same name, shape and start give the same tensor; another shape or start is an error.
  llmh_tensor add_parameter(std::string_view name, std::span<const int64_t> shape, const ParameterInit& init);
  // `data` is copied to 64-byte aligned memory. An empty name is replaced by a unique one.
  llmh_tensor add_constant(std::string_view name, llmh_dtype dtype, std::span<const int64_t> shape,
                           std::span<const std::byte> data);
  llmh_tensor scalar(float value);  // f32 [], the same tensor for the same value
  // A tensor that no node of this graph makes: what a sub-graph is given.
  llmh_tensor add_placeholder(const TensorType& type);
  // Shapes and dtypes of the outputs follow from the op (op_registry.h). Attributes may be those of an older
  // or newer header, see there.
  std::vector<llmh_tensor> add_node(llmh_op op, std::string_view path, std::span<const llmh_tensor> inputs,
                                    const void* attrs = nullptr, size_t attrs_size = 0);
  // Replaces the tensor's name; names are unique in a graph.
  void set_name(llmh_tensor tensor, std::string_view name);
  void add_output(int32_t kind, llmh_tensor tensor);
  // A weight's element type as the loader hands it over (vectors are decoded to f32 before).
  void set_weight_dtype(llmh_tensor weight, llmh_dtype dtype);

  // --- Reading ---
  // The C view; its arrays are valid until the next append, what they point at as long as the graph lives.
  const llmh_graph& view() const;
  uint32_t tensor_count() const;
  uint32_t node_count() const;
  const llmh_tensor_info& tensor(llmh_tensor index) const;  // throws kOutOfRange
  const llmh_node& node(uint32_t index) const;              // throws kOutOfRange
  llmh_tensor find(std::string_view name) const;            // LLMH_NO_TENSOR when there is none
  const ParameterInit& parameter_init(llmh_tensor parameter) const;
  bool has_default_name(llmh_tensor tensor) const;  // "%12": nobody has named it

 private:
  struct Tensor;  // unique_ptr: addresses in the C view stay
  struct Node;

  llmh_tensor append_tensor(int32_t role, std::string_view name, const TensorType& type);
  void check_name(std::string_view name) const;
  void refresh_view();

  std::deque<std::unique_ptr<Tensor>> tensors_;
  std::deque<std::unique_ptr<Node>> nodes_;
  std::deque<std::unique_ptr<llmh_graph_output>> outputs_;
  std::vector<const llmh_tensor_info*> tensor_view_;
  std::vector<const llmh_node*> node_view_;
  std::vector<const llmh_graph_output*> output_view_;
  std::unique_ptr<llmh_graph> view_;
  std::unordered_map<std::string, llmh_tensor> by_name_;
  std::map<int32_t, llmh_tensor> inputs_;
  std::map<uint32_t, llmh_tensor> scalars_;  // by the bits of the value
  std::map<llmh_tensor, ParameterInit> parameters_;
};

// The attributes of a node, which are never shorter than this host's struct.
template <typename Attrs>
const Attrs& attrs_of(const llmh_node& node) {
  return *static_cast<const Attrs*>(node.attrs);
}

inline std::span<const llmh_tensor> inputs_of(const llmh_node& node) {
  return {node.inputs, node.n_inputs};
}
inline std::span<const llmh_tensor> outputs_of(const llmh_node& node) {
  return {node.outputs, node.n_outputs};
}
// Input `index`, or LLMH_NO_TENSOR when the node has fewer or the optional input is absent.
inline llmh_tensor input_of(const llmh_node& node, uint32_t index) {
  return index < node.n_inputs ? node.inputs[index] : LLMH_NO_TENSOR;
}

// An attribute struct with its size filled in.
template <typename Attrs>
Attrs make_attrs() {
  Attrs attrs{};
  attrs.struct_size = sizeof(Attrs);
  return attrs;
}

}  // namespace llmhost::graph
