#include "graph/autodiff/forward_values.h"

#include "graph/emit.h"

namespace llmhost::graph {

ForwardValues::ForwardValues(const Graph& source, const SavePlan& plan)
    : plan_(plan),
      rewriter_(source),
      wanted_(source.tensor_count(), false),
      stored_(source.tensor_count(), LLMH_NO_TENSOR) {
  for (uint32_t i = 0; i < source.node_count(); ++i) {
    rewriter_.copy(i);
    const llmh_node& node = source.node(i);
    for (const llmh_tensor output : outputs_of(node)) {
      const auto t = static_cast<size_t>(output);
      if (!plan.kept[t] || plan.stored_as[t] == LLMH_DTYPE_F32) continue;
      Emit emit(target(), to_view(node.path));
      stored_[t] = emit.cast(rewriter_.map(output), plan.stored_as[t]);
    }
  }
}

void ForwardValues::enter(int32_t layer) {
  if (layer != layer_) at_hand_.clear();
  layer_ = layer;
}

llmh_tensor ForwardValues::value(llmh_tensor tensor) {
  if (tensor == LLMH_NO_TENSOR || rewriter_.source().tensor(tensor).producer < 0)
    return rewriter_.map(tensor);
  const auto t = static_cast<size_t>(tensor);
  wanted_[t] = true;
  if (plan_.kept[t] && stored_[t] == LLMH_NO_TENSOR) return rewriter_.map(tensor);
  if (const auto known = at_hand_.find(tensor); known != at_hand_.end()) return known->second;
  return plan_.kept[t] ? restore(tensor) : run_again(tensor);
}

llmh_tensor ForwardValues::restore(llmh_tensor tensor) {
  const Graph& source = rewriter_.source();
  const llmh_node& node = source.node(static_cast<uint32_t>(source.tensor(tensor).producer));
  Emit emit(target(), to_view(node.path));
  const llmh_tensor restored = emit.cast(stored_[static_cast<size_t>(tensor)], LLMH_DTYPE_F32);
  at_hand_.emplace(tensor, restored);
  return restored;
}

llmh_tensor ForwardValues::run_again(llmh_tensor tensor) {
  const Graph& source = rewriter_.source();
  const llmh_node& node = source.node(static_cast<uint32_t>(source.tensor(tensor).producer));
  std::vector<llmh_tensor> inputs;
  for (const llmh_tensor input : inputs_of(node)) inputs.push_back(value(input));
  const auto outputs = target().add_node(node.op, to_view(node.path), inputs, node.attrs, node.attrs_size);
  for (size_t i = 0; i < outputs.size(); ++i) at_hand_.emplace(node.outputs[i], outputs[i]);
  return at_hand_.at(tensor);
}

}  // namespace llmhost::graph
