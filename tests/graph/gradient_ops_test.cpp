// The gradients of single ops against central differences in double of their forward ops.
#include "double_eval.h"
#include "gradient_case.h"

namespace llmhost::graph {
namespace {

using test::constant_dims;
using test::kTokens;
using test::named;
using test::node_run;
using test::NodeRun;
using test::StepData;
using test::Values;

// Gradients are double sums of f32 inputs, rounded a few times; differences in double are good to 1e-8.
constexpr double kClose = 2e-6;

StepData uneven_step() {
  StepData step({0, 0, 0}, {3, 1, 4});
  step.all_rows();
  return step;
}

// x [T,width], made before.
llmh_tensor x_of(Graph& graph, int64_t width, const std::string& name = "x") {
  return named(graph, name, {kTokens, constant_dim(width)});
}

Values random_values(const Graph& graph, const StepData& step, uint32_t seed) {
  Values values;
  std::mt19937 random(seed);
  for (uint32_t i = 0; i < graph.tensor_count(); ++i) {
    const llmh_tensor_info& info = graph.tensor(static_cast<llmh_tensor>(i));
    if (info.producer >= 0 || info.role != LLMH_TENSOR_ACTIVATION) continue;
    const auto count = static_cast<size_t>(element_count(dims_of(info), values_of(step.view())));
    values.floats[std::string(to_view(info.name))] = test::random_floats(random, count);
  }
  return values;
}

// The forward op's loss by `tensor` against a result of the gradient op.
void check_gradient(const Graph& forward, const StepData& step, const Values& values,
                    const std::string& tensor, const std::vector<float>& actual) {
  CAPTURE(tensor);
  const auto expected =
      test::central_differences(forward, step, values, tensor, LLMH_OUTPUT_LOSS, {.step = 1e-5, .most = 400});
  CHECK(test::worst_off(actual, expected) < kClose);
}

struct NormCase {
  llmh_op forward;
  llmh_op gradient;
  llmh_op weight_gradient;
};
constexpr NormCase kNorms[] = {
    {LLMH_OP_RMS_NORM, LLMH_OP_RMS_NORM_GRAD, LLMH_OP_RMS_NORM_WEIGHT_GRAD},
    {LLMH_OP_LAYER_NORM, LLMH_OP_LAYER_NORM_GRAD, LLMH_OP_LAYER_NORM_WEIGHT_GRAD},
};

TEST_CASE("gradients of norms") {
  const StepData step = uneven_step();
  for (const NormCase& norm : kNorms)
    for (const int64_t width : {1, 7, 32})
      for (const bool weighted : {true, false})
        for (const float offset : {0.0F, 1.0F}) {
          CAPTURE(norm.forward);
          CAPTURE(width);
          CAPTURE(weighted);
          auto attrs = make_attrs<llmh_norm_attrs>();
          attrs.eps = 0.02F;
          attrs.weight_offset = offset;
          Graph graph;
          const llmh_tensor x = x_of(graph, width);
          const llmh_tensor w = weighted ? named(graph, "w", constant_dims({width})) : LLMH_NO_TENSOR;
          test::add_random_loss(graph, test::add(graph, norm.forward, {x, w}, attrs));
          Values values = random_values(graph, step, 5);
          values.floats["dy"] = test::loss_weights(8, static_cast<size_t>(width));
          Graph back;
          const llmh_tensor bx = x_of(back, width);
          const llmh_tensor bw = weighted ? named(back, "w", constant_dims({width})) : LLMH_NO_TENSOR;
          const llmh_tensor dy = x_of(back, width, "dy");
          NodeRun run = node_run(std::move(back), norm.gradient, {bx, bw, dy}, attrs);
          check_gradient(graph, step, values, "x", run.eval(step, values)[0]);
          CHECK(run.eval(step, values, true)[0] == run.eval(step, values)[0]);
          if (!weighted) continue;
          Graph of_weight;
          const llmh_tensor wx = x_of(of_weight, width);
          const llmh_tensor wdy = x_of(of_weight, width, "dy");
          NodeRun weight_run = node_run(std::move(of_weight), norm.weight_gradient, {wx, wdy}, attrs);
          check_gradient(graph, step, values, "w", weight_run.eval(step, values)[0]);
        }
}

TEST_CASE("gradients of activations, of gates and of the gated") {
  const StepData step = uneven_step();
  for (int32_t kind = LLMH_ACT_SILU; kind <= LLMH_ACT_GELU_QUICK; ++kind) {
    CAPTURE(kind);
    auto attrs = make_attrs<llmh_activation_attrs>();
    attrs.kind = kind;
    Graph graph;
    test::add_random_loss(graph, test::add(graph, LLMH_OP_ACTIVATION, {x_of(graph, 5)}, attrs));
    Values values = random_values(graph, step, 7);
    values.floats["dy"] = test::loss_weights(8, 5);
    Graph back;
    const llmh_tensor bx = x_of(back, 5);
    const llmh_tensor dy = x_of(back, 5, "dy");
    NodeRun run = node_run(std::move(back), LLMH_OP_ACTIVATION_GRAD, {bx, dy}, attrs);
    check_gradient(graph, step, values, "x", run.eval(step, values)[0]);

    Graph gated;
    const llmh_tensor gate = x_of(gated, 5, "gate");
    const llmh_tensor up = x_of(gated, 5, "up");
    test::add_random_loss(gated, test::add(gated, LLMH_OP_GATED_ACTIVATION, {gate, up}, attrs));
    Values both = random_values(gated, step, 8);
    both.floats["dy"] = values.floats["dy"];
    Graph gated_back;
    const llmh_tensor bgate = x_of(gated_back, 5, "gate");
    const llmh_tensor bup = x_of(gated_back, 5, "up");
    const llmh_tensor gated_dy = x_of(gated_back, 5, "dy");
    NodeRun gated_run =
        node_run(std::move(gated_back), LLMH_OP_GATED_ACTIVATION_GRAD, {bgate, bup, gated_dy}, attrs);
    const auto results = gated_run.eval(step, both);
    check_gradient(gated, step, both, "gate", results[0]);
    check_gradient(gated, step, both, "up", results[1]);
  }
}

TEST_CASE("the gradient of relu and its kin at 0 is 0, far out it is finite") {
  for (int32_t kind = LLMH_ACT_SILU; kind <= LLMH_ACT_GELU_QUICK; ++kind) {
    CAPTURE(kind);
    auto attrs = make_attrs<llmh_activation_attrs>();
    attrs.kind = kind;
    Graph graph;
    const llmh_tensor x = named(graph, "x", constant_dims({4}));
    const llmh_tensor dy = named(graph, "dy", constant_dims({4}));
    NodeRun run = node_run(std::move(graph), LLMH_OP_ACTIVATION_GRAD, {x, dy}, attrs);
    const auto result =
        run.eval(StepData({0}, {1}), {{{"x", {0, -0.0F, 90, -90}}, {"dy", {1, 1, 1, 1}}}, {}})[0];
    const bool is_flat = kind == LLMH_ACT_RELU || kind == LLMH_ACT_RELU_SQUARED;
    if (is_flat) CHECK(result[0] == 0);
    for (const float value : result) CHECK(std::isfinite(value));
  }
}

TEST_CASE("the gradient of softmax") {
  const StepData step = uneven_step();
  Graph graph;
  test::add_random_loss(graph, test::add(graph, LLMH_OP_SOFTMAX, {x_of(graph, 9)}));
  Values values = random_values(graph, step, 9);
  Graph forward;
  const llmh_tensor fx = x_of(forward, 9);
  NodeRun forward_run = node_run(std::move(forward), LLMH_OP_SOFTMAX, {fx});
  values.floats["y"] = forward_run.eval(step, values)[0];
  values.floats["dy"] = test::loss_weights(8, 9);
  Graph back;
  const llmh_tensor y = x_of(back, 9, "y");
  const llmh_tensor dy = x_of(back, 9, "dy");
  NodeRun run = node_run(std::move(back), LLMH_OP_SOFTMAX_GRAD, {y, dy});
  Values inputs = values;
  inputs.floats.erase("y");
  inputs.floats.erase("dy");
  check_gradient(graph, step, inputs, "x", run.eval(step, values)[0]);
}

// Rows of any number, one vector, no rows; weights as stored.
TEST_CASE("gradients of linear") {
  for (const llmh_dtype dtype :
       {LLMH_DTYPE_F32, LLMH_DTYPE_BF16, LLMH_DTYPE_F16, LLMH_DTYPE_Q8_0, LLMH_DTYPE_Q4_1}) {
    CAPTURE(dtype);
    for (const std::vector<int32_t>& fresh : {std::vector<int32_t>{3, 1, 4}, std::vector<int32_t>{0}}) {
      StepData step(std::vector<int32_t>(fresh.size(), 0), fresh);
      step.all_rows();
      const auto rows = step.positions.size();
      Graph graph;
      const llmh_tensor x = x_of(graph, 32);
      const int64_t shape[] = {5, 32};
      const llmh_tensor w = graph.add_weight("w", dtype, shape);
      test::add_random_loss(graph, test::add(graph, LLMH_OP_LINEAR, {x, w}));
      Values values = random_values(graph, step, 3);
      test::fill_values(graph, values);
      values.floats["dy"] = test::loss_weights(rows, 5);
      Graph back;
      const llmh_tensor dy = x_of(back, 5, "dy");
      const llmh_tensor bw = back.add_weight("w", dtype, shape);
      NodeRun run = node_run(std::move(back), LLMH_OP_LINEAR_INPUT_GRAD, {dy, bw});
      if (rows == 0) {
        CHECK(run.eval(step, values)[0].empty());
      } else {
        check_gradient(graph, step, values, "x", run.eval(step, values)[0]);
      }
      if (dtype != LLMH_DTYPE_F32) continue;
      Graph of_weight;
      const llmh_tensor wdy = x_of(of_weight, 5, "dy");
      const llmh_tensor wx = x_of(of_weight, 32);
      NodeRun weight_run = node_run(std::move(of_weight), LLMH_OP_LINEAR_WEIGHT_GRAD, {wdy, wx});
      const auto dw = weight_run.eval(step, values)[0];
      if (rows > 0)
        check_gradient(graph, step, values, "w", dw);
      else
        CHECK(dw == std::vector<float>(5 * 32, 0.0F));
    }
  }
  Graph vector;
  const llmh_tensor dy = named(vector, "dy", constant_dims({2}));
  const llmh_tensor w = named(vector, "w", constant_dims({2, 3}));
  NodeRun run = node_run(std::move(vector), LLMH_OP_LINEAR_INPUT_GRAD, {dy, w});
  CHECK(run.eval(StepData({0}, {1}), {{{"dy", {1, 10}}, {"w", {1, 2, 3, 4, 5, 6}}}, {}})[0] ==
        std::vector<float>{41, 52, 63});
}

TEST_CASE("gradients of expert_linear, with one x a token and with one a choice") {
  const StepData step = uneven_step();
  for (const bool shared : {true, false}) {
    CAPTURE(shared);
    constexpr int64_t kExperts = 4, kOutputs = 3, kInputs = 5, kChosen = 2;
    const auto x_dims = shared ? Dims{kTokens, constant_dim(kInputs)}
                               : Dims{kTokens, constant_dim(kChosen), constant_dim(kInputs)};
    const Dims ids_dims = {kTokens, constant_dim(kChosen)};
    const Dims w_dims = constant_dims({kExperts, kOutputs, kInputs});
    std::vector<int32_t> ids;
    for (int32_t i = 0; i < 16; ++i) ids.push_back(i * i % 3 + (i == 5 ? 1 : 0));  // expert 3 has no row
    const auto bytes = std::as_bytes(std::span(ids));

    // Forward as parts that differences go through: the rows' matrices one by one.
    Graph graph;
    const llmh_tensor x = named(graph, "x", x_dims);
    const llmh_tensor w = named(graph, "w", w_dims);
    const llmh_tensor chosen = named(graph, "ids", ids_dims, LLMH_DTYPE_I32);
    test::add_random_loss(graph, test::add(graph, LLMH_OP_EXPERT_LINEAR, {x, w, chosen}));
    Values values = random_values(graph, step, 21);
    values.floats.erase("ids");
    test::DoubleRun forward(graph, step);
    forward.set("x", values.floats["x"]).set("w", values.floats["w"]).set_ids("ids", ids);
    const auto differences = [&](const std::string& name) {
      std::vector<test::Derivative> result;
      for (size_t i = 0; i < forward.values(name).size(); ++i) {
        const double value = forward.values(name)[i];
        double sums[2] = {0, 0};
        for (const size_t side : {0U, 1U}) {
          forward.values(name)[i] = side == 0 ? value - 1e-5 : value + 1e-5;
          forward.eval();
          for (const double loss : forward.output(LLMH_OUTPUT_LOSS)) sums[side] += loss;
        }
        forward.values(name)[i] = value;
        result.push_back({i, (sums[1] - sums[0]) / 2e-5});
      }
      return result;
    };
    values.bytes["ids"].assign(bytes.begin(), bytes.end());
    values.floats["dy"] = test::loss_weights(8, kChosen * kOutputs);
    const Dims dy_dims = {kTokens, constant_dim(kChosen), constant_dim(kOutputs)};
    Graph back;
    const llmh_tensor dy = named(back, "dy", dy_dims);
    const llmh_tensor bw = named(back, "w", w_dims);
    const llmh_tensor bids = named(back, "ids", ids_dims, LLMH_DTYPE_I32);
    NodeRun run = node_run(std::move(back), LLMH_OP_EXPERT_LINEAR_INPUT_GRAD, {dy, bw, bids});
    auto dx = run.eval(step, values)[0];
    if (shared)  // one gradient a choice; x gets their sum
      for (size_t t = 0; t < 8; ++t)
        for (size_t k = 0; k < kInputs; ++k)
          dx[t * kInputs + k] = dx[t * 2 * kInputs + k] + dx[(t * 2 + 1) * kInputs + k];
    CHECK(test::worst_off(dx, differences("x")) < kClose);

    auto attrs = make_attrs<llmh_width_attrs>();
    attrs.width = kExperts;
    Graph of_weight;
    const llmh_tensor wdy = named(of_weight, "dy", dy_dims);
    const llmh_tensor wx = named(of_weight, "x", x_dims);
    const llmh_tensor wids = named(of_weight, "ids", ids_dims, LLMH_DTYPE_I32);
    NodeRun weight_run =
        node_run(std::move(of_weight), LLMH_OP_EXPERT_LINEAR_WEIGHT_GRAD, {wdy, wx, wids}, attrs);
    CHECK(test::worst_off(weight_run.eval(step, values)[0], differences("w")) < kClose);
  }
}

}  // namespace
}  // namespace llmhost::graph
