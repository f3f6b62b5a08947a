// Cross-entropy on logits and fused with a head.
#include <doctest/doctest.h>

#include <cmath>
#include <random>

#include "graph/emit.h"
#include "graph/types.h"
#include "training_fixture.h"

namespace llmhost::test {
namespace {

using graph::constant_dim;
using graph::symbol_dim;

graph::TensorType rows_type(int64_t width) {
  return {LLMH_DTYPE_F32, {symbol_dim(LLMH_DIM_OUTPUTS), constant_dim(width)}};
}

// Some of them absent.
std::vector<int32_t> random_labels(int64_t rows, int64_t vocabulary) {
  std::mt19937 engine(5);
  std::vector<int32_t> labels(static_cast<size_t>(rows));
  for (int32_t& label : labels)
    label = engine() % 4 == 0 ? -100 : static_cast<int32_t>(engine() % static_cast<uint32_t>(vocabulary));
  return labels;
}

StepArrays labelled_step(const std::vector<int32_t>& labels) {
  StepArrays arrays({{0, std::max<int32_t>(1, static_cast<int32_t>(labels.size())), 0, 1}});
  arrays.set_labels(labels);
  return arrays;
}

void check_cross_entropy(int64_t rows, int64_t vocabulary, float size) {
  CAPTURE(rows);
  CAPTURE(vocabulary);
  graph::Graph graph;
  const llmh_tensor logits = graph.add_placeholder(rows_type(vocabulary));
  const llmh_tensor dloss = graph.add_placeholder({LLMH_DTYPE_F32, {symbol_dim(LLMH_DIM_OUTPUTS)}});
  const llmh_tensor labels = graph.add_input(LLMH_INPUT_LABELS);
  graph::Emit emit(graph, "m");
  const llmh_tensor loss = emit.op(LLMH_OP_CROSS_ENTROPY, {logits, labels});
  const llmh_tensor dlogits = emit.op(LLMH_OP_CROSS_ENTROPY_GRAD, {logits, labels, dloss});
  const Model::Weights none;
  TrainingCase test{graph, none, graph, none, {}};
  test.given[logits] = random_floats(static_cast<size_t>(rows * vocabulary), 1, -size, size);
  test.given[dloss] = random_floats(static_cast<size_t>(rows), 2);
  test.results = {loss, dlogits};
  // exp of a difference of logits that was rounded, and the loss a number of about that size.
  test.tolerance = 4 * static_cast<double>(size) * 0x1p-23 + 1e-6;
  StepArrays arrays = labelled_step(random_labels(rows, vocabulary));
  check_training_case(test, arrays);
}

struct HeadCase {
  int64_t rows = 20;
  int64_t vocabulary = 100;
  int64_t depth = 32;
  llmh_dtype dtype = LLMH_DTYPE_F32;
  float value = 0;
  float softcap = 0;
  bool has_bias = false;
  float size = 1;  // of x
};

struct HeadGraph {
  explicit HeadGraph(const HeadCase& shape) {
    x = graph.add_placeholder(rows_type(shape.depth));
    const std::vector<int64_t> dims{shape.vocabulary, shape.depth};
    w = graph.add_weight("w", shape.dtype, dims);
    weights[w] = random_blocks(shape.dtype, shape.vocabulary, shape.depth, 7);
    llmh_tensor b = LLMH_NO_TENSOR;
    if (shape.has_bias) b = bias = graph.add_placeholder({LLMH_DTYPE_F32, {constant_dim(shape.vocabulary)}});
    const std::vector<llmh_tensor> inputs{x, w, b, graph.add_input(LLMH_INPUT_LABELS)};
    llmh_head_attrs attrs{sizeof(llmh_head_attrs), shape.value, shape.softcap};
    const auto outputs = graph.add_node(LLMH_OP_LINEAR_CROSS_ENTROPY, "m", inputs, &attrs, sizeof attrs);
    results = {outputs[0], outputs[1]};
  }
  graph::Graph graph;
  Model::Weights weights;
  llmh_tensor x = 0, w = 0, bias = 0;
  std::vector<llmh_tensor> results;
};

void check_head(const HeadCase& shape, bool is_native = false) {
  CAPTURE(shape.rows);
  CAPTURE(shape.vocabulary);
  CAPTURE(shape.depth);
  CAPTURE(llmh_dtype_layout_of(shape.dtype).name);
  const HeadGraph g(shape);
  TrainingCase test{g.graph, g.weights, g.graph, g.weights, {}};
  test.given[g.x] = random_floats(static_cast<size_t>(shape.rows * shape.depth), 1, -shape.size, shape.size);
  if (shape.has_bias) test.given[g.bias] = random_floats(static_cast<size_t>(shape.vocabulary), 3);
  test.results = g.results;
  // A logit of about sqrt(depth), each of its sums rounded; the loss and the gradient's weights follow it.
  const auto depth = static_cast<double>(shape.depth);
  const double size = std::max(1.0, static_cast<double>(shape.size * shape.value)) *
                      weight_size(shape.dtype, g.weights.at(g.w));
  test.tolerance = 0x1p-24 * size * (depth + 40) + 2e-6;
  if (is_native) {  // operands of 8 bits of precision, the gradient's weights as well
    test.precision = LLMH_PRECISION_NATIVE;
    test.rounded[g.x] = rounded_to_bf16(test.given[g.x]);
    test.tolerance = 0.01;
  }
  StepArrays arrays = labelled_step(random_labels(shape.rows, shape.vocabulary));
  check_training_case(test, arrays);
}

}  // namespace

TEST_CASE("CROSS_ENTROPY and its gradient agree with the reference") {
  check_cross_entropy(7, 1, 1);
  check_cross_entropy(40, 33, 3);
  check_cross_entropy(5, 3000, 80);
  check_cross_entropy(0, 10, 1);
}

TEST_CASE("LINEAR_CROSS_ENTROPY agrees with the reference") {
  check_head({});
  check_head({.rows = 1, .vocabulary = 3, .depth = 5});
  check_head({.rows = 77, .vocabulary = 1111, .depth = 50, .has_bias = true});
  check_head({.rows = 40, .vocabulary = 300, .depth = 64, .value = 0.25F, .softcap = 3, .has_bias = true});
  check_head({.rows = 33, .vocabulary = 700, .depth = 24, .value = 3, .size = 4});
  check_head({.rows = 3, .vocabulary = 50, .depth = 900});
  check_head({.rows = 0});
}

TEST_CASE("LINEAR_CROSS_ENTROPY puts spans of a large vocabulary together") {
  check_head({.rows = 9, .vocabulary = 36000, .depth = 6, .softcap = 2});
}

TEST_CASE("LINEAR_CROSS_ENTROPY takes every block of rows") {
  check_head({.rows = 600, .vocabulary = 40, .depth = 8});
}

TEST_CASE("LINEAR_CROSS_ENTROPY decodes the head") {
  for (const llmh_dtype dtype :
       {LLMH_DTYPE_BF16, LLMH_DTYPE_F16, LLMH_DTYPE_Q8_0, LLMH_DTYPE_NF4, LLMH_DTYPE_Q6_K})
    check_head({.rows = 20, .vocabulary = 90, .depth = 256, .dtype = dtype, .size = 0.25F});
  check_head({.rows = 20, .vocabulary = 91, .depth = 256, .dtype = LLMH_DTYPE_BF16, .size = 0.25F}, true);
  check_head({.rows = 20, .vocabulary = 91, .depth = 33, .dtype = LLMH_DTYPE_BF16, .size = 0.25F}, true);
}

TEST_CASE("a label outside the vocabulary is refused") {
  const HeadGraph g({});
  Instance instance(cpu_backend());
  Model model(instance, g.graph, g.weights);
  for (const int32_t wrong : {100, -1, -101}) {
    StepArrays arrays = labelled_step({3, wrong});
    CHECK(model.try_run(arrays) == LLMH_OUT_OF_RANGE);
  }
  StepArrays arrays = labelled_step({3, 99});
  CHECK(model.try_run(arrays) == LLMH_OK);
  arrays.step.labels = nullptr;
  CHECK(model.try_run(arrays) == LLMH_INVALID_ARGUMENT);
}

}  // namespace llmhost::test
