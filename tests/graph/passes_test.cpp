// Decomposition, fusion and dead nodes: what changes, what stays, and that the numbers do not change.
#include <doctest/doctest.h>

#include "graph/decompose.h"
#include "graph/dump.h"
#include "graph/fuse.h"
#include "graph/op_registry.h"
#include "graph_run.h"

namespace llmhost::graph {
namespace {

using test::kTokens;
using test::placeholder;
using test::Run;
using test::StepData;

constexpr int64_t kWidth = 8;
const auto kAll = [](const Graph&, uint32_t) { return true; };
const auto kNothing = [](const Graph&, uint32_t) { return false; };

std::vector<std::string> op_names(const Graph& graph) {
  std::vector<std::string> names;
  for (uint32_t i = 0; i < graph.node_count(); ++i) names.push_back(op_name(graph.node(i).op));
  return names;
}

// x + x', its norm, a gated MLP on it, the sum once more, and a tail for the output rows.
struct Block {
  Block() {
    a = placeholder(graph, {kTokens, constant_dim(kWidth)});
    b = placeholder(graph, {kTokens, constant_dim(kWidth)});
    graph.set_name(a, "a");
    graph.set_name(b, "b");
    const int64_t shape[] = {kWidth};
    weight = graph.add_weight("norm.weight", LLMH_DTYPE_F32, shape);
    auto norm = make_attrs<llmh_norm_attrs>();
    norm.eps = 1e-5F;
    auto silu = make_attrs<llmh_activation_attrs>();
    silu.kind = LLMH_ACT_SILU;
    sum = test::add(graph, LLMH_OP_ADD, {a, b});
    graph.set_name(sum, "residual");
    const llmh_tensor normed = test::add(graph, LLMH_OP_RMS_NORM, {sum, weight}, norm);
    const llmh_tensor gate = test::add(graph, LLMH_OP_ACTIVATION, {normed}, silu);
    const llmh_tensor mixed = test::add(graph, LLMH_OP_MUL, {a, gate});
    test::add(graph, LLMH_OP_SUB, {a, b});  // nobody reads it
    const llmh_tensor last = test::add(graph, LLMH_OP_ADD, {mixed, sum});
    out = test::add(graph, LLMH_OP_GATHER, {last, graph.add_input(LLMH_INPUT_OUTPUT_ROWS)});
    graph.add_output(LLMH_OUTPUT_HIDDEN, out);
  }
  Graph graph;
  llmh_tensor a, b, weight, sum, out;
};

std::vector<float> run_block(const Graph& graph) {
  std::mt19937 random(2);
  const StepData step({0, 3}, {2, 3});
  Run run(graph, step);
  for (const char* name : {"a", "b"}) run.set(graph.find(name), test::random_floats(random, 5 * kWidth));
  run.set(graph.find("norm.weight"), test::random_floats(random, kWidth));
  return run.eval().floats(graph.view().outputs[0]->tensor);
}

TEST_CASE("fusion makes the supported pairs, drops dead nodes and keeps numbers and names") {
  const Block block;
  const Graph fused = fuse(block.graph, kAll);
  CHECK(op_names(fused) == std::vector<std::string>{"add_rms_norm", "gated_activation", "add", "gather"});
  CHECK(run_block(fused) == run_block(block.graph));
  CHECK(fused.find("residual") == fused.node(0).outputs[0]);
  CHECK(fused.view().n_outputs == 1);

  const Graph unfused = fuse(block.graph, kNothing);
  CHECK(op_names(unfused) ==
        std::vector<std::string>{"add", "rms_norm", "activation", "mul", "add", "gather"});
  const Graph only_gated = fuse(block.graph, [](const Graph& graph, uint32_t node) {
    return graph.node(node).op == LLMH_OP_GATED_ACTIVATION;
  });
  CHECK(op_names(only_gated) ==
        std::vector<std::string>{"add", "rms_norm", "gated_activation", "add", "gather"});
  CHECK(run_block(only_gated) == run_block(block.graph));
}

TEST_CASE("a gate that is read twice is not fused") {
  Graph graph;
  const llmh_tensor x = placeholder(graph, {symbol_dim(LLMH_DIM_OUTPUTS), constant_dim(kWidth)});
  auto silu = make_attrs<llmh_activation_attrs>();
  silu.kind = LLMH_ACT_SILU;
  const llmh_tensor gate = test::add(graph, LLMH_OP_ACTIVATION, {x}, silu);
  const llmh_tensor product = test::add(graph, LLMH_OP_MUL, {gate, x});
  graph.add_output(LLMH_OUTPUT_HIDDEN, test::add(graph, LLMH_OP_ADD, {product, gate}));
  CHECK(op_names(fuse(graph, kAll)) == std::vector<std::string>{"activation", "mul", "add"});
}

TEST_CASE("decomposition stops at what is supported, and keeps numbers and names") {
  const Block block;
  const Graph same = decompose(block.graph, kAll);
  CHECK(op_names(same) == op_names(block.graph));
  CHECK(first_unsupported(same, kAll) == same.node_count());

  const Graph parts = decompose(fuse(block.graph, kAll), kNothing);
  for (uint32_t i = 0; i < parts.node_count(); ++i) CHECK((find_op(parts.node(i).op)->decompose == nullptr));
  CHECK(run_block(parts) == run_block(block.graph));
  CHECK(parts.find("residual") != LLMH_NO_TENSOR);
  CHECK(first_unsupported(parts, kNothing) == 0);

  const Graph without_fused = decompose(fuse(block.graph, kAll), [](const Graph& graph, uint32_t node) {
    const llmh_op op = graph.node(node).op;
    return op != LLMH_OP_ADD_RMS_NORM && op != LLMH_OP_GATED_ACTIVATION;
  });
  CHECK(op_names(without_fused) ==
        std::vector<std::string>{"add", "rms_norm", "activation", "mul", "add", "gather"});
}

TEST_CASE("nodes that write state are never dead") {
  Graph graph;
  const llmh_tensor k = placeholder(graph, {kTokens, constant_dim(kWidth)});
  auto attrs = make_attrs<llmh_state_attrs>();
  const llmh_tensor inputs[] = {k, k};
  graph.add_node(LLMH_OP_STATE_WRITE, "", inputs, &attrs, sizeof attrs);
  test::add(graph, LLMH_OP_MUL, {k, k});
  CHECK(op_names(eliminate_dead(graph)) == std::vector<std::string>{"state_write"});
}

TEST_CASE("every op of the registry has a name, and ids are found by it once") {
  for (const OpSpec& spec : all_ops()) {
    CHECK(find_op(spec.op) == &spec);
    CHECK(op_name(spec.op) == spec.name);
    const bool is_composite = spec.op < LLMH_OP_LORA_LINEAR || spec.op == LLMH_OP_LINEAR_INPUT_GRAD ||
                              spec.op >= LLMH_OP_RMS_NORM_GRAD;
    CHECK((spec.decompose != nullptr) == is_composite);
    CHECK(reference_extension()->supports(spec.op) == 1);
  }
  CHECK(all_ops().size() == 62);
  CHECK(reference_extension()->supports(9999) == 0);
  CHECK(op_name(9999) == "op 9999");
}

}  // namespace
}  // namespace llmhost::graph
