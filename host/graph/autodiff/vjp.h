// Vector-Jacobian products: for each op, how the gradient of its outputs becomes that of its inputs, written
// in ops. The table has a row for every op; differentiate() asks nothing else about an op.
#pragma once

#include <span>
#include <string_view>

#include "graph/autodiff/autodiff.h"
#include "graph/emit.h"
#include "graph/graph.h"

namespace llmhost::graph {

class Backward;

// One forward node while its rule runs. Values of the forward part are there when they are asked for, and
// only what some rule asks for waits in memory for the backward part.
class VjpCall {
 public:
  VjpCall(Backward& backward, uint32_t node);

  const llmh_node& node() const { return node_; }
  template <typename Attrs>
  const Attrs& as() const {
    return attrs_of<Attrs>(node_);
  }
  Emit& emit() { return emit_; }

  bool has(uint32_t input) const { return input_of(node_, input) != LLMH_NO_TENSOR; }
  // Shapes and dtypes of the forward node's tensors; the tensor must be there.
  TensorType in_type(uint32_t input) const;
  TensorType out_type(uint32_t output = 0) const;
  // Their values; LLMH_NO_TENSOR for an absent optional input.
  llmh_tensor in(uint32_t input);
  llmh_tensor out(uint32_t output = 0);

  // The gradient of an output, f32; LLMH_NO_TENSOR when the loss does not depend on it.
  llmh_tensor dy(uint32_t output = 0);
  bool has_dy(uint32_t output) const;
  // It is 1 everywhere; asking this first saves making it.
  bool dy_is_one(uint32_t output = 0) const;
  // Whether the gradient of an input leads to a trained tensor.
  bool wants(uint32_t input) const;
  // The gradient of an input that is wanted: f32, of the input's shape.
  void give(uint32_t input, llmh_tensor gradient);
  // The same of an operand that was stretched: the gradient is summed over what it was stretched along.
  void give_stretched(uint32_t input, llmh_tensor gradient);
  // Of elements [begin, end) along the axis alone; it is 0 elsewhere.
  void give_slice(uint32_t input, size_t axis, int64_t begin, int64_t end, llmh_tensor gradient);
  // -x, made once for all nodes.
  llmh_tensor negated(llmh_tensor x);

  // Throws kUnimplemented with op and path.
  [[noreturn]] void refuse(std::string_view why) const;

 private:
  Backward& backward_;
  const llmh_node& node_;
  Emit emit_;
};

enum class VjpKind {
  kRule,     // has a gradient
  kNone,     // its outputs count as constant: no gradient goes through
  kParts,    // it is replaced by its decomposition first
  kRefused,  // it has no gradient here; asking for one is an error
};

struct VjpRule {
  llmh_op op;
  VjpKind kind;
  void (*rule)(VjpCall& call);  // kRule
  std::string_view why;         // kRefused
};

std::span<const VjpRule> vjp_rules();

// With other rules than vjp_rules(): how tests find out what they would notice.
TrainingGraph differentiate(const Graph& graph, const DifferentiateOptions& options,
                            std::span<const VjpRule> rules);

}  // namespace llmhost::graph
