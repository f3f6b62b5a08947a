// Gradients of experts, sums into rows, sums of gradients, norms of changed rows.
#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <random>

#include "graph/emit.h"
#include "graph/types.h"
#include "training_fixture.h"

namespace llmhost::test {
namespace {

using graph::constant_dim;
using graph::symbol_dim;

std::vector<int32_t> random_ids(int64_t count, int64_t below, uint32_t seed) {
  std::mt19937 engine(seed);
  std::vector<int32_t> ids(static_cast<size_t>(count));
  for (int32_t& id : ids) id = static_cast<int32_t>(engine() % static_cast<uint32_t>(below));
  return ids;
}

StepArrays step_of(int64_t tokens) {
  return StepArrays({{0, static_cast<int32_t>(tokens), 0, 1}});
}

struct ExpertCase {
  int64_t tokens = 40;
  int64_t selected = 2;
  int64_t experts = 4;
  int64_t outputs = 48;
  int64_t inputs = 40;
  bool shared = true;  // x of all experts of a token
  int64_t used = 4;    // experts
  llmh_dtype dtype = LLMH_DTYPE_F32;
};

void check_experts(const ExpertCase& shape) {
  CAPTURE(shape.outputs);
  CAPTURE(shape.inputs);
  CAPTURE(shape.experts);
  graph::Graph graph;
  graph.add_parameter("p", std::vector<int64_t>{1}, {});
  const llmh_dim tokens = symbol_dim(LLMH_DIM_TOKENS);
  const llmh_dim selected = constant_dim(shape.selected);
  graph::Dims x_dims{tokens, constant_dim(shape.inputs)};
  if (!shape.shared) x_dims.insert(x_dims.begin() + 1, selected);
  const llmh_tensor x = graph.add_placeholder({LLMH_DTYPE_F32, x_dims});
  const llmh_tensor dy =
      graph.add_placeholder({LLMH_DTYPE_F32, {tokens, selected, constant_dim(shape.outputs)}});
  const llmh_tensor ids = graph.add_placeholder({LLMH_DTYPE_I32, {tokens, selected}});
  const llmh_tensor bias =
      graph.add_placeholder({LLMH_DTYPE_F32, {constant_dim(shape.experts), constant_dim(shape.outputs)}});
  const std::vector<int64_t> dims{shape.experts, shape.outputs, shape.inputs};
  const llmh_tensor w = graph.add_weight("w", shape.dtype, dims);
  graph::Emit emit(graph, "m");
  llmh_width_attrs width{sizeof(llmh_width_attrs), 0, shape.experts};
  const Model::Weights weights{
      {w, random_blocks(shape.dtype, shape.experts * shape.outputs, shape.inputs, 3)}};
  TrainingCase test{graph, weights, graph, weights, {}};
  test.results = {emit.op(LLMH_OP_EXPERT_LINEAR, {x, w, ids, bias}),
                  emit.op(LLMH_OP_EXPERT_LINEAR_INPUT_GRAD, {dy, w, ids}),
                  emit.op(LLMH_OP_EXPERT_LINEAR_WEIGHT_GRAD, {dy, x, ids}, width)};
  const auto count = [&](int64_t n) { return static_cast<size_t>(shape.tokens * n); };
  test.given[x] = random_floats(count(shape.inputs * (shape.shared ? 1 : shape.selected)), 1);
  test.given[dy] = random_floats(count(shape.selected * shape.outputs), 2);
  test.given[bias] = random_floats(static_cast<size_t>(shape.experts * shape.outputs), 4);
  test.ids[ids] = random_ids(shape.tokens * shape.selected, shape.used, 9);
  test.tolerance = 0x1p-24 * static_cast<double>(std::max(shape.outputs, shape.inputs) + shape.tokens) *
                       weight_size(shape.dtype, weights.at(w)) +
                   1e-6;
  StepArrays arrays = step_of(shape.tokens);
  check_training_case(test, arrays);
}

void check_scatter(int64_t tokens, int64_t rows, int64_t width) {
  CAPTURE(tokens);
  CAPTURE(width);
  graph::Graph graph;
  const llmh_tensor x =
      graph.add_placeholder({LLMH_DTYPE_F32, {symbol_dim(LLMH_DIM_TOKENS), constant_dim(width)}});
  const llmh_tensor ids = graph.add_placeholder({LLMH_DTYPE_I32, {symbol_dim(LLMH_DIM_TOKENS)}});
  graph::Emit emit(graph, "m");
  const llmh_tensor y = emit.scatter_add(x, ids, {constant_dim(rows), constant_dim(width)});
  const Model::Weights none;
  TrainingCase test{graph, none, graph, none, {}};
  test.given[x] = random_floats(static_cast<size_t>(tokens * width), 1);
  test.ids[ids] = random_ids(tokens, rows, 2);
  test.results = {y};
  test.tolerance = 0x1p-24 * static_cast<double>(tokens) + 1e-7;
  StepArrays arrays = step_of(tokens);
  check_training_case(test, arrays);
}

struct NormCase {
  int64_t rows = 30;
  int64_t depth = 70;
  int64_t rank = 4;  // 0: none
  llmh_dtype dtype = LLMH_DTYPE_F32;
};

void check_norms(const NormCase& shape) {
  CAPTURE(shape.rows);
  CAPTURE(shape.depth);
  CAPTURE(shape.rank);
  graph::Graph graph;
  const std::vector<int64_t> dims{shape.rows, shape.depth};
  const llmh_tensor w = graph.add_weight("w", shape.dtype, dims);
  const Model::Weights weights{{w, random_blocks(shape.dtype, shape.rows, shape.depth, 3)}};
  llmh_tensor a = LLMH_NO_TENSOR;
  llmh_tensor b = LLMH_NO_TENSOR;
  std::map<llmh_tensor, std::vector<float>> given;
  if (shape.rank > 0) {
    a = graph.add_parameter("a", std::vector<int64_t>{shape.rank, shape.depth}, {});
    b = graph.add_parameter("b", std::vector<int64_t>{shape.rows, shape.rank}, {});
    given[a] = random_floats(static_cast<size_t>(shape.rank * shape.depth), 1);
    given[b] = random_floats(static_cast<size_t>(shape.rank * shape.rows), 2);
  }
  graph::Emit emit(graph, "m");
  llmh_scalar_attrs attrs{sizeof(llmh_scalar_attrs), 0.5F};
  const llmh_tensor y = emit.op(LLMH_OP_LOW_RANK_ROW_NORMS, {w, a, b}, attrs);
  TrainingCase norms{graph, weights, graph, weights, given};
  norms.results = {y};
  // Relative to a norm of about sqrt(depth (1 + rank / 9)).
  norms.tolerance = 0x1p-22 * std::sqrt(static_cast<double>(shape.depth * (1 + shape.rank))) *
                        weight_size(shape.dtype, weights.at(w)) +
                    1e-6;
  StepArrays arrays = step_of(1);
  check_training_case(norms, arrays);
}

}  // namespace

TEST_CASE("experts of training and their gradients agree with the reference") {
  check_experts({});
  check_experts(
      {.tokens = 17, .selected = 3, .experts = 7, .outputs = 33, .inputs = 100, .shared = false, .used = 5});
  check_experts({.tokens = 5, .experts = 64, .outputs = 64, .inputs = 16, .used = 64});
  check_experts(
      {.tokens = 60, .experts = 3, .outputs = 40, .inputs = 256, .used = 1, .dtype = LLMH_DTYPE_Q4_K});
  check_experts(
      {.tokens = 30, .experts = 3, .outputs = 130, .inputs = 64, .used = 3, .dtype = LLMH_DTYPE_BF16});
}

TEST_CASE("SCATTER_ADD agrees with the reference") {
  check_scatter(1, 1, 1);
  check_scatter(50, 7, 33);
  check_scatter(300, 20, 500);
  check_scatter(0, 20, 5);
}

TEST_CASE("ACCUMULATE adds to the memory of a parameter, step by step") {
  graph::Graph graph;
  const std::vector<int64_t> dims{37, 3};
  const llmh_tensor sum = graph.add_parameter("sum", dims, {});
  const llmh_tensor x = graph.add_placeholder({LLMH_DTYPE_F32, {constant_dim(37), constant_dim(3)}});
  graph.add_node(LLMH_OP_ACCUMULATE, "m", std::vector<llmh_tensor>{sum, x});
  Instance instance(cpu_backend(), {}, 2);
  Model model(instance, graph, {});
  const auto start = random_floats(111, 1);
  const auto values = random_floats(111, 2);
  model.write(sum, start.data(), start.size() * sizeof(float));
  model.write(x, values.data(), values.size() * sizeof(float));
  const StepArrays arrays = step_of(1);
  for (int step = 0; step < 2; ++step) model.run(arrays);
  const auto got = model.read(sum, arrays);
  for (size_t i = 0; i < got.size(); ++i) CHECK(got[i] == (start[i] + values[i]) + values[i]);
}

TEST_CASE("LOW_RANK_ROW_NORMS agrees with the reference") {
  check_norms({});
  check_norms({.rows = 1, .depth = 1, .rank = 1});
  check_norms({.rows = 45, .depth = 600, .rank = 16});
  check_norms({.rows = 20, .depth = 33, .rank = 0});
  check_norms({.rows = 20, .depth = 256, .rank = 8, .dtype = LLMH_DTYPE_Q6_K});
  check_norms({.rows = 20, .depth = 64, .rank = 8, .dtype = LLMH_DTYPE_NF4});
}

}  // namespace llmhost::test
