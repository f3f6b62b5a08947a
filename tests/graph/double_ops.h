// Single primitive ops in double; see double_eval.h.
#pragma once

#include <vector>

#include "double_eval.h"

namespace llmhost::graph::test {

// One node with its operands; an absent input is null.
struct DoubleCall {
  const llmh_node& node;
  const llmh_step& step;
  std::vector<const DoubleTensor*> inputs;
  std::vector<DoubleTensor*> outputs;  // sizes are set, values have room

  const DoubleTensor& in(size_t i) const { return *inputs[i]; }
  bool has(size_t i) const { return i < inputs.size() && inputs[i] != nullptr; }
  DoubleTensor& out(size_t i = 0) const { return *outputs[i]; }
  template <typename Attrs>
  const Attrs& as() const {
    return attrs_of<Attrs>(node);
  }
};

using DoubleOp = void (*)(const DoubleCall& call);
// Null for an op that is not written down in double.
DoubleOp double_op(llmh_op op);
DoubleOp double_training_op(llmh_op op);  // double_training_ops.cpp

// The flat place in `from` of index `flat` of dims `over`, over which `from` stretches.
int64_t stretched_place(int64_t flat, const std::vector<int64_t>& over, const std::vector<int64_t>& from);

}  // namespace llmhost::graph::test
