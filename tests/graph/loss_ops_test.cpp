// The losses of next tokens against their formulas and central differences in double.
#include "core/error.h"
#include "double_eval.h"
#include "gradient_case.h"

namespace llmhost::graph {
namespace {

using test::constant_dims;
using test::named;
using test::node_run;
using test::NodeRun;
using test::StepData;
using test::Values;

const llmh_dim kRows = symbol_dim(LLMH_DIM_OUTPUTS);
// Double from inputs to results, rounded once.
constexpr double kClose = 1e-6;

// Rows with and without labels; the vocabulary is 7.
StepData labelled_step() {
  StepData step({0, 0}, {6, 5});
  step.all_rows();
  return step;
}

std::vector<double> losses(const Graph& graph, const StepData& step, const Values& values) {
  test::DoubleRun run(graph, step);
  for (const auto& [name, floats] : values.floats)
    if (run.has(name)) run.set(name, floats);
  for (const auto& [name, bytes] : values.bytes) run.set_bytes(name, bytes);
  run.eval();
  return run.output(LLMH_OUTPUT_LOSS);
}

struct LogitsGraph {
  Graph graph;
  LogitsGraph() {
    const llmh_tensor logits = named(graph, "logits", {kRows, constant_dim(7)});
    const llmh_tensor loss =
        test::add(graph, LLMH_OP_CROSS_ENTROPY, {logits, graph.add_input(LLMH_INPUT_LABELS)});
    graph.set_name(loss, "loss");
    graph.add_output(LLMH_OUTPUT_LOSS, loss);
  }
};

TEST_CASE("cross_entropy and its gradient") {
  const StepData step = labelled_step();
  std::mt19937 random(4);
  const size_t rows = step.output_rows.size();
  const LogitsGraph forward;
  Values values;
  values.floats["logits"] = test::random_floats(random, rows * 7, 3.0F);
  test::Run run(forward.graph, step);
  run.set(forward.graph.find("logits"), values.floats["logits"]).eval();
  const auto actual = run.floats(forward.graph.find("loss"));
  CHECK(test::worst_error(actual, losses(forward.graph, step, values)) < kClose);
  for (size_t row = 0; row < rows; ++row) CHECK((actual[row] == 0) == (step.labels[row] == -100));

  Graph back;
  const llmh_tensor logits = named(back, "logits", {kRows, constant_dim(7)});
  const llmh_tensor labels = back.add_input(LLMH_INPUT_LABELS);
  const llmh_tensor dloss = named(back, "dloss", {kRows});
  NodeRun gradient = node_run(std::move(back), LLMH_OP_CROSS_ENTROPY_GRAD, {logits, labels, dloss});
  values.floats["dloss"].assign(rows, 1.0F);
  const auto dlogits = gradient.eval(step, values)[0];
  const auto expected = test::central_differences(forward.graph, step, values, "logits", LLMH_OUTPUT_LOSS,
                                                  {.step = 1e-5, .most = 200});
  CHECK(test::worst_off(dlogits, expected) < kClose);
  values.floats["dloss"].assign(rows, -0.5F);
  const auto halves = gradient.eval(step, values)[0];
  for (size_t i = 0; i < halves.size(); ++i) CHECK(halves[i] == -0.5F * dlogits[i]);
}

TEST_CASE("cross_entropy of logits far apart is finite, of a label that is none an error") {
  StepData step({0}, {2});
  step.all_rows();
  step.labels = {0, 1};
  const LogitsGraph forward;
  test::Run run(forward.graph, step);
  run.set(forward.graph.find("logits"), {1e4F, 0, 0, 0, 0, 0, -1e4F, 1e4F, 0, 0, 0, 0, 0, -1e4F}).eval();
  CHECK(run.floats(forward.graph.find("loss")) == std::vector<float>{0, 1e4F});
  for (const int32_t label : {-1, 7, -101, INT32_MAX}) {
    step.labels = {0, label};
    test::Run wrong(forward.graph, step);
    CHECK_THROWS_WITH_AS(
        wrong.eval(), fmt::format("cross_entropy: label {} of row 1 is outside the 7 logits", label).c_str(),
        Error);
  }
}

struct HeadCase {
  float value;
  float cap;
  bool biased;
  llmh_dtype dtype = LLMH_DTYPE_F32;
};

TEST_CASE("linear_cross_entropy gives loss and gradient at once") {
  for (const HeadCase& c : {HeadCase{0, 0, false}, HeadCase{1, 0, true}, HeadCase{0.25F, 0, false},
                            HeadCase{0.5F, 1.5F, true}, HeadCase{0, 2, false, LLMH_DTYPE_BF16},
                            HeadCase{2, 0, true, LLMH_DTYPE_Q8_0}, HeadCase{0, 0, false, LLMH_DTYPE_Q4_0}}) {
    CAPTURE(c.value);
    CAPTURE(c.cap);
    CAPTURE(c.dtype);
    const StepData step = labelled_step();
    const auto build = [&](Graph& graph) {
      const llmh_tensor x = named(graph, "x", {kRows, constant_dim(32)});
      const int64_t shape[] = {7, 32};
      const llmh_tensor weight = graph.add_weight("w", c.dtype, shape);
      const llmh_tensor bias = c.biased ? named(graph, "b", constant_dims({7})) : LLMH_NO_TENSOR;
      return std::vector<llmh_tensor>{x, weight, bias, graph.add_input(LLMH_INPUT_LABELS)};
    };
    auto attrs = make_attrs<llmh_head_attrs>();
    attrs.value = c.value;
    attrs.softcap = c.cap;
    Graph graph;
    const auto inputs = build(graph);
    const auto made = graph.add_node(LLMH_OP_LINEAR_CROSS_ENTROPY, "lm_head", inputs, &attrs, sizeof attrs);
    graph.add_output(LLMH_OUTPUT_LOSS, made[0]);
    Values values;
    test::fill_values(graph, values, 3, 0.4F);
    std::mt19937 random(6);
    values.floats["x"] = test::random_floats(random, 11 * 32);
    if (c.biased) values.floats["b"] = test::random_floats(random, 7);

    Graph other;
    const auto other_inputs = build(other);
    NodeRun run = node_run(std::move(other), LLMH_OP_LINEAR_CROSS_ENTROPY, other_inputs, attrs);
    const auto results = run.eval(step, values);
    CHECK(test::worst_error(results[0], losses(graph, step, values)) < kClose);
    const auto expected = test::central_differences(graph, step, values, "x", LLMH_OUTPUT_LOSS,
                                                    {.step = 1e-5, .most = 11 * 32});
    CHECK(test::worst_off(results[1], expected) < kClose);
  }
}

TEST_CASE("linear_cross_entropy is what the ops it stands for are") {
  const StepData step = labelled_step();
  Graph graph;
  const llmh_tensor x = named(graph, "x", {kRows, constant_dim(32)});
  const int64_t shape[] = {7, 32};
  const llmh_tensor weight = graph.add_weight("w", LLMH_DTYPE_F32, shape);
  const llmh_tensor labels = graph.add_input(LLMH_INPUT_LABELS);
  auto attrs = make_attrs<llmh_head_attrs>();
  attrs.value = 0.5F;
  attrs.softcap = 3.0F;
  const llmh_tensor whole_inputs[] = {x, weight, LLMH_NO_TENSOR, labels};
  const auto whole = graph.add_node(LLMH_OP_LINEAR_CROSS_ENTROPY, "", whole_inputs, &attrs, sizeof attrs);
  auto scalar = make_attrs<llmh_scalar_attrs>();
  scalar.value = attrs.value;
  llmh_tensor logits =
      test::add(graph, LLMH_OP_SCALE, {test::add(graph, LLMH_OP_LINEAR, {x, weight})}, scalar);
  scalar.value = attrs.softcap;
  logits = test::add(graph, LLMH_OP_SOFTCAP, {logits}, scalar);
  const llmh_tensor parts = test::add(graph, LLMH_OP_CROSS_ENTROPY, {logits, labels});
  std::mt19937 random(6);
  test::Run run(graph, step);
  run.set(x, test::random_floats(random, 11 * 32))
      .set(weight, test::random_floats(random, 7 * 32, 0.3F))
      .eval();
  const auto expected = run.floats(parts);
  CHECK(test::worst_error(run.floats(whole[0]), {expected.begin(), expected.end()}) < kClose);
}

TEST_CASE("a step without output rows has no loss") {
  StepData step({0}, {2});
  step.output_rows.clear();
  Graph graph;
  const llmh_tensor x = named(graph, "x", {kRows, constant_dim(4)});
  const llmh_tensor weight = named(graph, "w", constant_dims({3, 4}));
  const llmh_tensor labels = graph.add_input(LLMH_INPUT_LABELS);
  NodeRun run = node_run(std::move(graph), LLMH_OP_LINEAR_CROSS_ENTROPY, {x, weight, LLMH_NO_TENSOR, labels},
                         make_attrs<llmh_head_attrs>());
  const auto results = run.eval(step, {{{"w", std::vector<float>(12, 1.0F)}}, {}});
  CHECK(results[0].empty());
  CHECK(results[1].empty());
}

}  // namespace
}  // namespace llmhost::graph
