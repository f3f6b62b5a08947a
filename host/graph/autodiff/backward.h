// The backward part of a training graph while it is written; see autodiff.h.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "graph/autodiff/forward_values.h"
#include "graph/autodiff/gradients.h"
#include "graph/autodiff/vjp.h"

namespace llmhost::graph {

// By tensor: whether a change of a parameter changes it, as far as the rules let gradients through.
std::vector<bool> depends_on_parameters(const Graph& graph, std::span<const VjpRule> rules);

class Backward {
 public:
  // Writes the forward part; all arguments must outlive it.
  Backward(const Graph& source, const Layers& layers, const SavePlan& plan, std::span<const VjpRule> rules);

  // Writes the backward part: from the output LOSS to the sums of gradients.
  void run();
  const std::vector<bool>& wanted() const { return values_.wanted(); }
  Graph finish() { return values_.finish(); }

 private:
  friend class VjpCall;

  const VjpRule& rule_of(llmh_op op) const;
  void visit(uint32_t node);
  bool has_gradient(llmh_tensor tensor) const { return sums_.contains(tensor); }
  llmh_tensor gradient(Emit& emit, llmh_tensor tensor);
  void check(const llmh_node& node, llmh_tensor tensor, llmh_tensor gradient, const Dims& dims);
  void accumulate(Emit& emit, llmh_tensor parameter, llmh_tensor gradient);

  const Graph& source_;
  const Layers& layers_;
  std::span<const VjpRule> rules_;
  std::vector<bool> needed_;
  ForwardValues values_;
  std::map<llmh_tensor, GradientSum> sums_;        // by old tensor
  std::map<llmh_tensor, llmh_tensor> parameters_;  // old parameter -> its sum of gradients
  std::map<llmh_tensor, llmh_tensor> negated_;     // by new tensor
};

}  // namespace llmhost::graph
