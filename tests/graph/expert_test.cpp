// EXPERT_LINEAR, whole and decomposed, against direct loops in double precision.
#include <doctest/doctest.h>

#include "core/dequantize.h"
#include "core/error.h"
#include "graph/decompose.h"
#include "graph_run.h"

namespace llmhost::graph {
namespace {

using test::constant_dims;
using test::kTokens;
using test::placeholder;
using test::random_floats;
using test::Run;
using test::StepData;

constexpr size_t kTokenCount = 5;

std::vector<std::byte> to_bytes(const auto& values) {
  const auto bytes = std::as_bytes(std::span(values));
  return {bytes.begin(), bytes.end()};
}

struct Experts {
  int64_t experts, outputs, inputs, selected;
  bool shared_x = true;  // one x a token
  bool biased = false;
  llmh_dtype dtype = LLMH_DTYPE_F32;
};

// The graph of one node with values for its inputs, and what comes out of it.
struct Case {
  explicit Case(const Experts& sizes) : shape(sizes) {
    Dims x_dims = {kTokens, constant_dim(shape.inputs)};
    if (!shape.shared_x) x_dims.insert(x_dims.begin() + 1, constant_dim(shape.selected));
    x = placeholder(graph, x_dims);
    weight = placeholder(graph, constant_dims({shape.experts, shape.outputs, shape.inputs}), shape.dtype);
    ids = placeholder(graph, {kTokens, constant_dim(shape.selected)}, LLMH_DTYPE_I32);
    bias = shape.biased ? placeholder(graph, constant_dims({shape.experts, shape.outputs})) : LLMH_NO_TENSOR;
    y = test::add(graph, LLMH_OP_EXPERT_LINEAR, {x, weight, ids, bias});
    for (const auto& [tensor, name] :
         std::map<llmh_tensor, std::string>{{x, "x"}, {weight, "w"}, {ids, "ids"}, {bias, "b"}, {y, "y"}})
      if (tensor != LLMH_NO_TENSOR) graph.set_name(tensor, name);
    fill();
  }

  void fill() {
    std::mt19937 random(17);
    const auto count = [](int64_t n) { return static_cast<size_t>(n); };
    const size_t rows = kTokenCount * (shape.shared_x ? 1 : count(shape.selected));
    x_values = random_floats(random, rows * count(shape.inputs));
    const auto elements = count(shape.experts * shape.outputs * shape.inputs);
    if (shape.dtype == LLMH_DTYPE_F32) {
      w_values = random_floats(random, elements);
      w_bytes = to_bytes(w_values);
    } else {  // q8_0: a scale of 2^-4, then 32 elements
      for (size_t i = 0; i < elements / 32 * 34; ++i)
        w_bytes.push_back(static_cast<std::byte>(i % 34 == 0 ? 0 : i % 34 == 1 ? 0x2C : random() & 0xFF));
      w_values.resize(elements);
      dequantize_row(shape.dtype, w_bytes.data(), w_values.data(), elements);
    }
    b_values = random_floats(random, count(shape.experts * shape.outputs));
    for (size_t i = 0; i < kTokenCount * count(shape.selected); ++i)
      id_values.push_back(static_cast<int32_t>(random() % static_cast<uint32_t>(shape.experts)));
  }

  std::vector<double> expected() const {
    std::vector<double> result;
    for (size_t row = 0; row < id_values.size(); ++row) {
      const size_t x_row = shape.shared_x ? row / static_cast<size_t>(shape.selected) : row;
      for (int64_t n = 0; n < shape.outputs; ++n) {
        const auto out = static_cast<size_t>(id_values[row] * shape.outputs + n);
        double sum = shape.biased ? static_cast<double>(b_values[out]) : 0.0;
        const auto width = static_cast<size_t>(shape.inputs);
        for (size_t i = 0; i < width; ++i)
          sum += static_cast<double>(x_values[x_row * width + i]) *
                 static_cast<double>(w_values[out * width + i]);
        result.push_back(sum);
      }
    }
    return result;
  }

  std::vector<float> eval(const Graph& of) const {
    Run run(of, StepData({0, 0}, {2, 3}));
    run.set(of.find("x"), x_values).set_bytes(of.find("w"), w_bytes);
    run.set_bytes(of.find("ids"), to_bytes(id_values));
    if (shape.biased) run.set(of.find("b"), b_values);
    return run.eval().floats(of.find("y"));
  }

  Experts shape;
  Graph graph;
  llmh_tensor x, weight, ids, bias, y;
  std::vector<float> x_values, w_values, b_values;
  std::vector<std::byte> w_bytes;
  std::vector<int32_t> id_values;
};

}  // namespace

// 1e-5: sums in double precision, rounded to f32 once or twice.
TEST_CASE("expert_linear sends each row through the matrix of its expert") {
  for (const Experts& shape :
       {Experts{4, 3, 7, 2}, Experts{4, 3, 7, 2, false}, Experts{1, 5, 2, 1, true, true},
        Experts{3, 2, 9, 5, false, true}, Experts{64, 4, 3, 8, true, true},
        Experts{3, 5, 64, 2, true, true, LLMH_DTYPE_Q8_0},
        Experts{3, 5, 64, 2, false, false, LLMH_DTYPE_Q8_0}}) {
    CAPTURE(shape.experts);
    CAPTURE(shape.selected);
    const Case c(shape);
    const auto direct = c.eval(c.graph);
    CHECK(test::worst_error(direct, c.expected()) < 1e-5);
    const Graph parts = decompose(c.graph, [](const Graph&, uint32_t) { return false; });
    for (uint32_t i = 0; i < parts.node_count(); ++i)
      CHECK((find_op(parts.node(i).op)->decompose == nullptr));
    CHECK(c.eval(parts) == direct);
  }
}

TEST_CASE("expert_linear refuses an id without an expert") {
  Case c({4, 3, 7, 2});
  for (const int32_t wrong : {4, -1}) {
    c.id_values[3] = wrong;
    CHECK_THROWS_WITH_AS(c.eval(c.graph), doctest::Contains("is outside the 4 rows"), Error);
  }
}

TEST_CASE("expert_linear explains what its inputs must be") {
  Graph graph;
  const llmh_tensor x = placeholder(graph, {kTokens, constant_dim(8)});
  const llmh_tensor ids = placeholder(graph, {kTokens, constant_dim(2)}, LLMH_DTYPE_I32);
  const llmh_tensor weight = placeholder(graph, constant_dims({4, 6, 8}));
  const auto add = [&](std::vector<llmh_tensor> inputs) { test::add(graph, LLMH_OP_EXPERT_LINEAR, inputs); };
  CHECK_THROWS_WITH_AS(add({x, placeholder(graph, constant_dims({6, 8})), ids}),
                       "expert_linear: the weight is [6,8], it must be [E,N,K]", Error);
  CHECK_THROWS_WITH_AS(add({x, weight, graph.add_input(LLMH_INPUT_TOKEN_IDS)}),
                       "expert_linear: ids are i32[T], they must be i32[T,S]", Error);
  CHECK_THROWS_WITH_AS(add({placeholder(graph, {kTokens, constant_dim(9)}), weight, ids}),
                       "expert_linear: x is [T,9], ids [T,2] and the weight [4,6,8] want [T,8] or [T,2,8]",
                       Error);
  CHECK_THROWS_WITH_AS(add({x, weight, ids, placeholder(graph, constant_dims({6}))}),
                       "expert_linear: bias is [6], it must be [4,6]", Error);
  add({x, weight, ids, placeholder(graph, constant_dims({4, 6}))});
  CHECK(to_text(dims_of(graph.tensor(graph.node(0).outputs[0]))) == "[T,2,6]");
}

}  // namespace llmhost::graph
