#include "graph/autodiff/backward.h"

#include <algorithm>
#include <string>

#include "core/error.h"
#include "graph/autodiff/sizes.h"
#include "graph/op_registry.h"

namespace llmhost::graph {
namespace {

const VjpRule& find_rule(std::span<const VjpRule> rules, llmh_op op) {
  const auto found = std::ranges::find(rules, op, &VjpRule::op);
  if (found == rules.end()) throw_error(ErrorCode::kInternal, "{} has no rule for its gradient", op_name(op));
  return *found;
}

std::string place(const llmh_node& node) {
  const std::string_view path = to_view(node.path);
  return path.empty() ? op_name(node.op) : fmt::format("{} at {}", op_name(node.op), path);
}

llmh_tensor loss_of(const Graph& graph) {
  const llmh_graph& view = graph.view();
  for (uint32_t i = 0; i < view.n_outputs; ++i)
    if (view.outputs[i]->kind == LLMH_OUTPUT_LOSS) return view.outputs[i]->tensor;
  throw_invalid("the graph has no output LOSS to take the gradient of");
}

}  // namespace

std::vector<bool> depends_on_parameters(const Graph& graph, std::span<const VjpRule> rules) {
  std::vector<bool> depends(graph.tensor_count(), false);
  for (uint32_t t = 0; t < graph.tensor_count(); ++t)
    depends[t] = graph.tensor(static_cast<llmh_tensor>(t)).role == LLMH_TENSOR_PARAMETER;
  for (uint32_t i = 0; i < graph.node_count(); ++i) {
    const llmh_node& node = graph.node(i);
    if (find_rule(rules, node.op).kind == VjpKind::kNone) continue;
    const bool any = std::ranges::any_of(inputs_of(node), [&](llmh_tensor input) {
      return input != LLMH_NO_TENSOR && depends[static_cast<size_t>(input)];
    });
    if (!any) continue;
    for (const llmh_tensor output : outputs_of(node))
      depends[static_cast<size_t>(output)] = is_float(graph.tensor(output).dtype);
  }
  return depends;
}

Backward::Backward(const Graph& source, const Layers& layers, const SavePlan& plan,
                   std::span<const VjpRule> rules)
    : source_(source),
      layers_(layers),
      rules_(rules),
      needed_(depends_on_parameters(source, rules)),
      values_(source, plan) {}

const VjpRule& Backward::rule_of(llmh_op op) const {
  return find_rule(rules_, op);
}

void Backward::run() {
  const llmh_tensor loss = loss_of(source_);
  if (!needed_[static_cast<size_t>(loss)]) return;
  sums_[loss].set_to_one();
  for (uint32_t i = source_.node_count(); i-- > 0;) visit(i);
}

void Backward::visit(uint32_t index) {
  const llmh_node& node = source_.node(index);
  const auto outputs = outputs_of(node);
  if (std::ranges::none_of(outputs, [&](llmh_tensor output) { return has_gradient(output); })) return;
  values_.enter(layers_.of_node(index));
  VjpCall call(*this, index);
  const VjpRule& rule = rule_of(node.op);
  if (rule.kind == VjpKind::kRefused) call.refuse(rule.why);
  if (rule.kind == VjpKind::kRule) rule.rule(call);
  for (const llmh_tensor output : outputs) sums_.erase(output);
}

llmh_tensor Backward::gradient(Emit& emit, llmh_tensor tensor) {
  const auto sum = sums_.find(tensor);
  if (sum == sums_.end()) return LLMH_NO_TENSOR;
  return sum->second.total(emit, type_of(source_.tensor(tensor)).dims);
}

void Backward::check(const llmh_node& node, llmh_tensor tensor, llmh_tensor gradient, const Dims& dims) {
  const llmh_tensor_info& info = values_.target().tensor(gradient);
  if (info.dtype != LLMH_DTYPE_F32 || !same_dims(dims_of(info), dims))
    throw_error(ErrorCode::kInternal, "{}: the gradient of '{}', {}, is {}{}", place(node),
                to_view(source_.tensor(tensor).name), to_text(dims), dtype_name(info.dtype),
                to_text(dims_of(info)));
}

void Backward::accumulate(Emit& emit, llmh_tensor parameter, llmh_tensor gradient) {
  llmh_tensor& sum = parameters_.try_emplace(parameter, LLMH_NO_TENSOR).first->second;
  if (sum == LLMH_NO_TENSOR) {
    const llmh_tensor_info& info = source_.tensor(parameter);
    sum = values_.target().add_parameter(fmt::format("{}.gradient", to_view(info.name)), sizes_of(info),
                                         {LLMH_INIT_ZEROS, 0});
  }
  const llmh_tensor inputs[] = {sum, gradient};
  emit.node(LLMH_OP_ACCUMULATE, inputs, nullptr, 0);
}

VjpCall::VjpCall(Backward& backward, uint32_t node)
    : backward_(backward),
      node_(backward.source_.node(node)),
      emit_(backward.values_.target(), to_view(node_.path)) {}

TensorType VjpCall::in_type(uint32_t input) const {
  return type_of(backward_.source_.tensor(node_.inputs[input]));
}
TensorType VjpCall::out_type(uint32_t output) const {
  return type_of(backward_.source_.tensor(node_.outputs[output]));
}
llmh_tensor VjpCall::in(uint32_t input) {
  return backward_.values_.value(input_of(node_, input));
}
llmh_tensor VjpCall::out(uint32_t output) {
  return backward_.values_.value(node_.outputs[output]);
}
llmh_tensor VjpCall::dy(uint32_t output) {
  return backward_.gradient(emit_, node_.outputs[output]);
}
bool VjpCall::has_dy(uint32_t output) const {
  return backward_.has_gradient(node_.outputs[output]);
}
bool VjpCall::dy_is_one(uint32_t output) const {
  const auto sum = backward_.sums_.find(node_.outputs[output]);
  return sum != backward_.sums_.end() && sum->second.is_one();
}
bool VjpCall::wants(uint32_t input) const {
  return has(input) && backward_.needed_[static_cast<size_t>(node_.inputs[input])];
}

void VjpCall::give(uint32_t input, llmh_tensor gradient) {
  const llmh_tensor tensor = node_.inputs[input];
  backward_.check(node_, tensor, gradient, in_type(input).dims);
  if (backward_.source_.tensor(tensor).role == LLMH_TENSOR_PARAMETER)
    backward_.accumulate(emit_, tensor, gradient);
  else
    backward_.sums_[tensor].add(emit_, gradient);
}

void VjpCall::give_stretched(uint32_t input, llmh_tensor gradient) {
  const Dims dims = in_type(input).dims;
  give(input, same_dims(emit_.dims(gradient), dims) ? gradient : emit_.reduce_to(gradient, dims));
}

void VjpCall::give_slice(uint32_t input, size_t axis, int64_t begin, int64_t end, llmh_tensor gradient) {
  const llmh_tensor tensor = node_.inputs[input];
  Dims dims = in_type(input).dims;
  const int64_t size = dims[axis].size;
  dims[axis].size = end - begin;
  backward_.check(node_, tensor, gradient, dims);
  if (backward_.source_.tensor(tensor).role == LLMH_TENSOR_PARAMETER)
    backward_.accumulate(emit_, tensor, emit_.pad(gradient, axis, begin, size));
  else
    backward_.sums_[tensor].add_slice(axis, begin, end, gradient);
}

llmh_tensor VjpCall::negated(llmh_tensor x) {
  const auto [known, is_new] = backward_.negated_.try_emplace(x, LLMH_NO_TENSOR);
  if (is_new) known->second = emit_.unary(LLMH_UNARY_NEG, x);
  return known->second;
}

void VjpCall::refuse(std::string_view why) const {
  throw_error(ErrorCode::kUnimplemented, "{} has no gradient: {}", place(node_), why);
}

}  // namespace llmhost::graph
