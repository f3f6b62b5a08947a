// The op set as the host knows it: one row an op with its name, inputs, attributes, the rule for its outputs'
// shapes and, for a composite op, its decomposition. Everything that asks "what is op 6" asks here.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "graph/types.h"
#include "llmhost/op.h"

namespace llmhost::graph {

class Graph;

// One node while its outputs are worked out.
struct NodeView {
  llmh_op op;
  std::string_view name;                      // of the op
  std::string_view path;                      // Hub module path, may be empty
  std::span<const TensorType* const> inputs;  // null for an absent optional input
  const void* attrs;                          // of the host's size, or null
  std::span<const std::string> input_names;

  const TensorType& in(size_t index) const { return *inputs[index]; }
  bool has(size_t index) const { return index < inputs.size() && inputs[index] != nullptr; }
  template <typename Attrs>
  const Attrs& as() const {
    return *static_cast<const Attrs*>(attrs);
  }
  // Throws "linear at model.layers.3.self_attn.q_proj: <message>".
  template <typename... Args>
  [[noreturn]] void fail(fmt::format_string<Args...> format, Args&&... args) const {
    fail_with(fmt::format(format, std::forward<Args>(args)...));
  }
  [[noreturn]] void fail_with(const std::string& message) const;
};

// A node to be added to a graph in place of a composite one; used by decompositions.
struct CompositeNode {
  Graph& graph;  // receives the parts
  std::string_view path;
  std::span<const llmh_tensor> inputs;  // tensors of `graph`, LLMH_NO_TENSOR for an absent optional input
  const void* attrs;

  llmh_tensor in(size_t index) const { return index < inputs.size() ? inputs[index] : LLMH_NO_TENSOR; }
  template <typename Attrs>
  const Attrs& as() const {
    return *static_cast<const Attrs*>(attrs);
  }
};

struct OpSpec {
  llmh_op op;
  std::string_view name;
  std::string_view inputs;  // "x weight bias?": names, optional ones marked; "x..." takes 1 to 16 tensors
  uint32_t n_outputs;
  uint32_t attrs_size;  // of the host's struct; 0: the op has none
  std::vector<TensorType> (*infer)(const NodeView& node);
  std::vector<llmh_tensor> (*decompose)(const CompositeNode& node);  // null: a primitive op
};

// Null for an id that this host does not know.
const OpSpec* find_op(llmh_op op);
std::span<const OpSpec> all_ops();
// "linear"; "op 99" for an unknown id.
std::string op_name(llmh_op op);

// The attributes at the host's size, zero-filled at the end; aligned for any type; null for an op without. A
// longer struct of a newer header is accepted when what it adds is zero. Throws kInvalidArgument.
struct AttrsStorage {
  std::unique_ptr<std::byte[]> bytes;
  std::vector<float> factors;  // what pointers in the attributes refer to
};
AttrsStorage copy_attrs(const OpSpec& spec, std::string_view path, const void* attrs, size_t attrs_size);

// Checks the inputs and gives the outputs' types. Throws kInvalidArgument with op and path.
std::vector<TensorType> infer_outputs(const OpSpec& spec, std::string_view path,
                                      std::span<const TensorType* const> inputs, const void* attrs);

}  // namespace llmhost::graph
