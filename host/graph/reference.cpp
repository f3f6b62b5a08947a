#include "graph/reference.h"

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "core/error.h"
#include "graph/decompose.h"
#include "graph/eval.h"
#include "graph/op_registry.h"
#include "plugin/status.h"

namespace llmhost::graph {
namespace {

// A composite node as primitive nodes over placeholders for its inputs.
struct Plan {
  Graph graph;
  std::vector<llmh_tensor> inputs;  // LLMH_NO_TENSOR for an absent one
  std::vector<llmh_tensor> outputs;
  std::vector<uint32_t> last_use;  // by tensor: the node after which nobody reads it
};

// The node alone over placeholders, decomposed; names carry inputs and outputs through the passes.
std::shared_ptr<const Plan> make_plan(const llmh_graph& graph, const llmh_node& node) {
  Graph single;
  std::vector<llmh_tensor> inputs;
  for (const llmh_tensor input : inputs_of(node)) {
    inputs.push_back(input == LLMH_NO_TENSOR ? input
                                             : single.add_placeholder(type_of(*graph.tensors[input])));
    if (input != LLMH_NO_TENSOR) single.set_name(inputs.back(), fmt::format("in{}", inputs.size() - 1));
  }
  const auto outputs = single.add_node(node.op, to_view(node.path), inputs, node.attrs, node.attrs_size);
  for (size_t i = 0; i < outputs.size(); ++i) single.set_name(outputs[i], fmt::format("out{}", i));

  auto plan = std::make_shared<Plan>();
  plan->graph = decompose(single, [](const Graph&, uint32_t) { return false; });
  for (size_t i = 0; i < inputs.size(); ++i) plan->inputs.push_back(plan->graph.find(fmt::format("in{}", i)));
  for (size_t i = 0; i < outputs.size(); ++i)
    plan->outputs.push_back(plan->graph.find(fmt::format("out{}", i)));
  plan->last_use.assign(plan->graph.tensor_count(), 0);
  for (uint32_t i = 0; i < plan->graph.node_count(); ++i)
    for (const llmh_tensor input : inputs_of(plan->graph.node(i)))
      if (input != LLMH_NO_TENSOR) plan->last_use[static_cast<size_t>(input)] = i;
  return plan;
}

// What a plan depends on (the path for its errors), and nothing else: graphs come and go, and their addresses
// are used again.
std::string plan_key(const llmh_graph& graph, const llmh_node& node) {
  std::string key;
  const auto append = [&key](const auto& value) {
    key.append(reinterpret_cast<const char*>(&value), sizeof(value));
  };
  append(node.op);
  append(node.path.len);
  key.append(to_view(node.path));
  key.append(static_cast<const char*>(node.attrs), node.attrs == nullptr ? 0 : node.attrs_size);
  for (const llmh_tensor input : inputs_of(node)) {
    append(input == LLMH_NO_TENSOR ? -1 : graph.tensors[input]->rank);
    if (input == LLMH_NO_TENSOR) continue;
    append(graph.tensors[input]->dtype);
    for (const llmh_dim& dim : dims_of(*graph.tensors[input])) {
      append(dim.size);
      append(dim.symbol);
    }
  }
  return key;
}

std::shared_ptr<const Plan> plan_for(const llmh_graph& graph, const llmh_node& node) {
  constexpr size_t kMostPlans = 4096;  // several models
  static std::mutex mutex;
  static auto* plans = new std::map<std::string, std::shared_ptr<const Plan>>;
  const std::string key = plan_key(graph, node);
  const std::lock_guard lock(mutex);
  if (const auto known = plans->find(key); known != plans->end()) return known->second;
  if (plans->size() >= kMostPlans) plans->clear();
  return plans->emplace(key, make_plan(graph, node)).first->second;
}

// A site as it is without adapters.
struct BaseNode {
  llmh_node node;
  llmh_norm_attrs norm{};

  explicit BaseNode(const llmh_node& site) : node(site) {
    if (site.op == LLMH_OP_LORA_LINEAR || site.op == LLMH_OP_LORA_EMBEDDING) {
      node.op = site.op == LLMH_OP_LORA_LINEAR ? LLMH_OP_LINEAR : LLMH_OP_EMBEDDING;
      node.attrs = nullptr;
      node.attrs_size = 0;
    } else {
      norm = attrs_of<llmh_norm_attrs>(site);
      norm.adapter_site = 0;
      node.attrs = &norm;
      node.attrs_size = sizeof norm;
    }
  }
  BaseNode(const BaseNode&) = delete;
  BaseNode& operator=(const BaseNode&) = delete;
};

bool is_site(const llmh_node& node) {
  if (node.op == LLMH_OP_LORA_LINEAR || node.op == LLMH_OP_LORA_EMBEDDING) return true;
  const bool is_norm =
      node.op == LLMH_OP_RMS_NORM || node.op == LLMH_OP_LAYER_NORM || node.op == LLMH_OP_ADD_RMS_NORM;
  return is_norm && attrs_of<llmh_norm_attrs>(node).adapter_site != 0;
}

void eval_composite(const Evaluation& evaluation, const llmh_node& node) {
  const auto plan = plan_for(evaluation.graph, node);
  const SymbolValues values = values_of(evaluation.step);
  const uint32_t n_tensors = plan->graph.tensor_count();
  std::vector<void*> tensors(n_tensors, nullptr);
  std::vector<std::unique_ptr<std::byte[]>> owned(n_tensors);
  for (size_t i = 0; i < plan->inputs.size(); ++i)
    if (plan->inputs[i] != LLMH_NO_TENSOR)
      tensors[static_cast<size_t>(plan->inputs[i])] = eval::data_of(evaluation, node.inputs[i]);
  for (size_t i = 0; i < plan->outputs.size(); ++i)
    tensors[static_cast<size_t>(plan->outputs[i])] = evaluation.tensors[node.outputs[i]];
  const Evaluation inner{plan->graph.view(), tensors.data(),      evaluation.step,
                         evaluation.states,  evaluation.n_states, evaluation.state_data};
  for (uint32_t i = 0; i < plan->graph.node_count(); ++i) {
    const llmh_node& part = plan->graph.node(i);
    for (const llmh_tensor output : outputs_of(part)) {
      const auto index = static_cast<size_t>(output);
      if (tensors[index] != nullptr) continue;
      const llmh_tensor_info& info = plan->graph.tensor(output);
      owned[index] =
          std::make_unique_for_overwrite<std::byte[]>(byte_count(info.dtype, dims_of(info), values) + 1);
      tensors[index] = owned[index].get();
    }
    eval_node(inner, i);
    for (const llmh_tensor input : inputs_of(part))
      if (input != LLMH_NO_TENSOR && plan->last_use[static_cast<size_t>(input)] == i)
        owned[static_cast<size_t>(input)].reset();
  }
}

void eval_site(const Evaluation& evaluation, uint32_t index) {
  const llmh_node& node = *evaluation.graph.nodes[index];
  eval_composite(evaluation, BaseNode(node).node);
  if (evaluation.step.n_adapter_segments == 0) return;
  const eval::NodeCall call(evaluation, index);
  if (node.op == LLMH_OP_LORA_LINEAR) return eval::adapt_linear(call);
  if (node.op == LLMH_OP_LORA_EMBEDDING) return eval::adapt_embedding(call);
  eval::adapt_norm(call);
}

using Evaluator = void (*)(const eval::NodeCall& call);

Evaluator evaluator_of(llmh_op op) {
  static const std::map<llmh_op, Evaluator> kEvaluators = {
      {LLMH_OP_ADD, eval::binary},
      {LLMH_OP_SUB, eval::binary},
      {LLMH_OP_MUL, eval::binary},
      {LLMH_OP_DIV, eval::binary},
      {LLMH_OP_UNARY, eval::unary},
      {LLMH_OP_REDUCE, eval::reduce},
      {LLMH_OP_MATMUL, eval::matmul},
      {LLMH_OP_RESHAPE, eval::reshape},
      {LLMH_OP_PERMUTE, eval::permute},
      {LLMH_OP_SLICE, eval::slice},
      {LLMH_OP_CONCAT, eval::concat},
      {LLMH_OP_BROADCAST, eval::broadcast},
      {LLMH_OP_GATHER, eval::gather},
      {LLMH_OP_CAST, eval::cast},
      {LLMH_OP_ROPE_ANGLES, eval::rope_angles},
      {LLMH_OP_STATE_WRITE, eval::state_write},
      {LLMH_OP_STATE_READ, eval::state_read},
      {LLMH_OP_ATTENTION_MASK, eval::attention_mask},
      {LLMH_OP_ATTENTION_DISTANCE, eval::attention_distance},
      {LLMH_OP_TOP_K, eval::top_k},
      {LLMH_OP_TOP_K_MASK, eval::top_k_mask},
      {LLMH_OP_TAKE, eval::take},
      {LLMH_OP_CLAMP, eval::clamp},
      {LLMH_OP_REDUCE_TO, eval::reduce_to},
      {LLMH_OP_PAD, eval::pad},
      {LLMH_OP_SCATTER_ADD, eval::scatter_add},
      {LLMH_OP_SCATTER_LAST, eval::scatter_last},
      {LLMH_OP_DETACH, eval::detach},
      {LLMH_OP_DROPOUT, eval::dropout},
      {LLMH_OP_LOW_RANK_ROW_NORMS, eval::low_rank_row_norms},
      {LLMH_OP_ACCUMULATE, eval::accumulate},
      {LLMH_OP_ATTENTION_TRAIN, eval::attention_train},
      {LLMH_OP_ATTENTION_GRAD, eval::attention_grad},
      {LLMH_OP_CROSS_ENTROPY, eval::cross_entropy},
      {LLMH_OP_CROSS_ENTROPY_GRAD, eval::cross_entropy_grad},
      {LLMH_OP_LINEAR_CROSS_ENTROPY, eval::linear_cross_entropy},
      {LLMH_OP_LINEAR_WEIGHT_GRAD, eval::linear_weight_grad},
      {LLMH_OP_EXPERT_LINEAR_INPUT_GRAD, eval::expert_linear_input_grad},
      {LLMH_OP_EXPERT_LINEAR_WEIGHT_GRAD, eval::expert_linear_weight_grad},
  };
  const auto found = kEvaluators.find(op);
  return found == kEvaluators.end() ? nullptr : found->second;
}

int32_t reference_supports(llmh_op op) {
  return find_op(op) != nullptr ? 1 : 0;
}

int32_t reference_eval(const llmh_graph* graph, uint32_t node, void* const* tensors, const llmh_step* step,
                       const llmh_state_view* const* states, uint32_t n_states, void* const* state_data,
                       llmh_call* call) {
  try {
    eval_node({*graph, tensors, *step, states, n_states, state_data}, node);
    return LLMH_OK;
  } catch (...) {
    return plugin::code_of_current_exception(call);
  }
}

uint64_t reference_state_page_bytes(const llmh_state_spec* spec, int32_t page_tokens) {
  const auto width = static_cast<uint64_t>(int64_t{spec->k_head_dim} + spec->v_head_dim);
  return static_cast<uint64_t>(page_tokens) * static_cast<uint64_t>(spec->n_kv_heads) * width * sizeof(float);
}

}  // namespace

void eval_node(const Evaluation& evaluation, uint32_t index) {
  const llmh_node& node = *evaluation.graph.nodes[index];
  if (const Evaluator evaluator = evaluator_of(node.op)) return evaluator(eval::NodeCall(evaluation, index));
  if (is_site(node)) return eval_site(evaluation, index);
  if (node.op == LLMH_OP_ATTENTION && attrs_of<llmh_attention_attrs>(node).top_k_ratio != 0)
    return eval::attention_top_k(eval::NodeCall(evaluation, index));
  const OpSpec* spec = find_op(node.op);
  if (spec == nullptr || spec->decompose == nullptr)
    throw_error(ErrorCode::kUnimplemented, "the reference evaluator does not know {}", op_name(node.op));
  eval_composite(evaluation, node);
}

const llmh_reference* reference_extension() {
  static const llmh_reference table = {sizeof(llmh_reference), reference_supports, reference_eval,
                                       reference_state_page_bytes};
  return &table;
}

}  // namespace llmhost::graph
