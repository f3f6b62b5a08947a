#include "mutants.h"

#include "changes.h"
#include "graph/op_registry.h"
#include "graph/rewrite.h"

namespace llmhost::mutation {
namespace {

using graph::Graph;
using graph::VjpCall;
using graph::VjpKind;
using graph::VjpRule;

uint32_t loss_node(const Graph& graph) {
  const llmh_graph& view = graph.view();
  for (uint32_t i = 0; i < view.n_outputs; ++i)
    if (view.outputs[i]->kind == LLMH_OUTPUT_LOSS)
      return static_cast<uint32_t>(graph.tensor(view.outputs[i]->tensor).producer);
  return graph.node_count();
}

Graph changed(const Graph& graph, uint32_t at, const Change& change) {
  graph::Rewriter rewriter(graph);
  for (uint32_t i = 0; i < graph.node_count(); ++i) {
    if (i != at) {
      rewriter.copy(i);
      continue;
    }
    const llmh_node& node = graph.node(i);
    graph::Emit emit(rewriter.target(), graph::to_view(node.path));
    const auto outputs = change.make({emit, node, rewriter.map(graph::inputs_of(node))});
    for (size_t k = 0; k < outputs.size(); ++k) rewriter.replace(node.outputs[k], outputs[k]);
  }
  return rewriter.finish();
}

// A parameter's gradient would go on through a product of its elements: the whole derivative of the norms.
void row_norms(VjpCall& call) {
  graph::Emit& emit = call.emit();
  const float value = call.as<llmh_scalar_attrs>().value;
  const llmh_tensor delta = emit.scale(emit.matmul(call.in(2), call.in(1), false), value);
  const llmh_tensor rows = emit.add(emit.cast(call.in(0), LLMH_DTYPE_F32), delta);
  const llmh_dim count = call.out_type().dims[0];
  const llmh_tensor slope = emit.reshape(emit.div(call.dy(), call.out()), {count, graph::constant_dim(1)});
  const llmh_tensor gradient = emit.scale(emit.mul(rows, slope), value);
  if (call.wants(1)) call.give(1, emit.op(LLMH_OP_LINEAR_WEIGHT_GRAD, {call.in(2), gradient}));
  if (call.wants(2)) call.give(2, emit.matmul(gradient, call.in(1), true));
}

void pass_through(VjpCall& call) {
  if (call.wants(0)) call.give(0, call.dy());
}

std::vector<VjpRule> with_row(llmh_op op, const VjpRule& row) {
  std::vector<VjpRule> rules(graph::vjp_rules().begin(), graph::vjp_rules().end());
  for (VjpRule& rule : rules)
    if (rule.op == op) rule = row;
  return rules;
}

}  // namespace

std::vector<Mutant> mutants_of(const Graph& training) {
  std::vector<Mutant> mutants;
  for (uint32_t i = loss_node(training) + 1; i < training.node_count(); ++i) {
    const llmh_node& node = training.node(i);
    if (graph::to_view(node.path) != "case") continue;
    std::vector<Change> changes;
    add_result_changes(training, node, changes);
    if (node.op != LLMH_OP_ACCUMULATE) {
      add_operand_changes(training, node, changes);
      add_op_changes(training, node, changes);
      add_setting_changes(node, changes);
    }
    for (Change& change : changes)
      mutants.push_back({std::to_string(i) + " " + graph::op_name(node.op) + ": " + change.name,
                         [i, change](const Graph& graph) { return changed(graph, i, change); }});
  }
  return mutants;
}

std::vector<MutantRules> mutant_rules() {
  std::vector<MutantRules> mutants;
  for (const VjpRule& rule : graph::vjp_rules())
    if (rule.kind == VjpKind::kRule)
      mutants.push_back({graph::op_name(rule.op) + ": lets no gradient through", rule.op,
                         with_row(rule.op, {rule.op, VjpKind::kNone, nullptr, {}})});
  for (const llmh_op op : {LLMH_OP_DETACH, LLMH_OP_TOP_K_MASK})
    mutants.push_back({graph::op_name(op) + ": lets gradients through", op,
                       with_row(op, {op, VjpKind::kRule, pass_through, {}})});
  mutants.push_back(
      {"low_rank_row_norms: lets gradients through", LLMH_OP_LOW_RANK_ROW_NORMS,
       with_row(LLMH_OP_LOW_RANK_ROW_NORMS, {LLMH_OP_LOW_RANK_ROW_NORMS, VjpKind::kRule, row_norms, {}})});
  return mutants;
}

}  // namespace llmhost::mutation
