// Primitive ops against their definitions in double precision.
#include <doctest/doctest.h>

#include <cmath>

#include "core/dequantize.h"
#include "core/error.h"
#include "graph/emit.h"
#include "graph_run.h"

namespace llmhost::graph {
namespace {

using test::constant_dims;
using test::placeholder;
using test::random_floats;
using test::Run;
using test::StepData;

struct Fixture {
  std::mt19937 random{11};
  Graph graph;
  Emit emit{graph, ""};
  StepData step{{0}, {3}};
  const float infinity = std::numeric_limits<float>::infinity();

  // Evaluates `out` with these values in placeholders.
  std::vector<float> eval(llmh_tensor out, std::vector<std::pair<llmh_tensor, std::vector<float>>> values) {
    Run run(graph, step);
    for (const auto& [tensor, content] : values) run.set(tensor, content);
    return run.eval().floats(out);
  }
};

TEST_CASE_FIXTURE(Fixture, "elementwise ops with stretched dimensions") {
  const llmh_tensor a = placeholder(graph, constant_dims({2, 1, 3}));
  const llmh_tensor b = placeholder(graph, constant_dims({4, 1}));
  const auto x = random_floats(random, 6);
  const auto y = random_floats(random, 4);
  const llmh_tensor results[] = {emit.add(a, b), emit.sub(a, b), emit.mul(a, b), emit.div(a, b)};
  for (size_t op = 0; op < 4; ++op) {
    const auto actual = eval(results[op], {{a, x}, {b, y}});
    REQUIRE(actual.size() == 24);
    for (size_t i = 0; i < 24; ++i) {
      const float left = x[i / 12 * 3 + i % 3];
      const float right = y[i / 3 % 4];
      const float expected[] = {left + right, left - right, left * right, left / right};
      CHECK(actual[i] == expected[op]);
    }
  }
}

// 1e-6: one f32 function of the C library, rounded to f32.
TEST_CASE_FIXTURE(Fixture, "unary functions") {
  const std::vector<float> x = {0.3F, 1.7F, 2.9F, 0.01F};
  const std::vector<double (*)(double)> functions = {[](double v) { return -v; },
                                                     [](double v) { return std::exp(v); },
                                                     [](double v) { return std::log(v); },
                                                     [](double v) { return std::sqrt(v); },
                                                     [](double v) { return 1 / std::sqrt(v); },
                                                     [](double v) { return std::tanh(v); },
                                                     [](double v) { return 1 / (1 + std::exp(-v)); },
                                                     [](double v) { return std::erf(v); },
                                                     [](double v) { return std::max(v, 0.0); },
                                                     [](double v) { return std::abs(v); },
                                                     [](double v) { return v * v; },
                                                     [](double v) { return std::sin(v); },
                                                     [](double v) { return std::cos(v); }};
  const llmh_tensor a = placeholder(graph, constant_dims({4}));
  for (int32_t kind = LLMH_UNARY_NEG; kind <= LLMH_UNARY_COS; ++kind) {
    CAPTURE(kind);
    std::vector<double> expected;
    for (const float v : x)
      expected.push_back(functions[static_cast<size_t>(kind - 1)](static_cast<double>(v)));
    CHECK(test::worst_error(eval(emit.unary(kind, a), {{a, x}}), expected) < 1e-6);
  }
  CHECK(eval(emit.unary(LLMH_UNARY_RELU, a), {{a, {-1, -0.0F, 2, -infinity}}}) ==
        std::vector<float>{0, 0, 2, 0});
  CHECK(eval(emit.unary(LLMH_UNARY_SIGMOID, a), {{a, {-200, 200, 0, 0}}}) ==
        std::vector<float>{0, 1, 0.5F, 0.5F});
}

TEST_CASE_FIXTURE(Fixture, "reductions") {
  const llmh_tensor a = placeholder(graph, constant_dims({2, 3}));
  const std::vector<float> x = {1, 2, 6, -5, -infinity, -7};
  CHECK(eval(emit.reduce(LLMH_REDUCE_SUM, a), {{a, x}}) == std::vector<float>{9, -infinity});
  CHECK(eval(emit.reduce(LLMH_REDUCE_MEAN, a), {{a, x}}) == std::vector<float>{3, -infinity});
  CHECK(eval(emit.reduce(LLMH_REDUCE_MAX, a), {{a, x}}) == std::vector<float>{6, -5});
}

// 1e-7: sums in double, rounded to f32 once.
TEST_CASE_FIXTURE(Fixture, "matmul with stretched leading dimensions") {
  const int64_t m = 3, n = 5, k = 19;
  const llmh_tensor a = placeholder(graph, constant_dims({2, 4, m, k}));
  const llmh_tensor b = placeholder(graph, constant_dims({2, 1, k, n}));
  const llmh_tensor bt = emit.permute(b, {0, 1, 3, 2});
  const auto x = random_floats(random, 2 * 4 * 3 * 19);
  const auto y = random_floats(random, 2 * 19 * 5);
  std::vector<double> expected;
  for (int64_t batch = 0; batch < 8; ++batch)
    for (int64_t row = 0; row < m; ++row)
      for (int64_t column = 0; column < n; ++column) {
        double sum = 0;
        for (int64_t i = 0; i < k; ++i)
          sum += static_cast<double>(x[static_cast<size_t>((batch * m + row) * k + i)]) *
                 static_cast<double>(y[static_cast<size_t>((batch / 4 * k + i) * n + column)]);
        expected.push_back(sum);
      }
  CHECK(test::worst_error(eval(emit.matmul(a, b, false), {{a, x}, {b, y}}), expected) < 1e-7);
  CHECK(test::worst_error(eval(emit.matmul(a, bt, true), {{a, x}, {b, y}}), expected) < 1e-7);
}

TEST_CASE_FIXTURE(Fixture, "reshape, permute, slice, concat, broadcast") {
  const llmh_tensor a = placeholder(graph, constant_dims({2, 3}));
  const std::vector<float> x = {1, 2, 3, 4, 5, 6};
  CHECK(eval(emit.reshape(a, constant_dims({3, 2})), {{a, x}}) == x);
  CHECK(eval(emit.permute(a, {1, 0}), {{a, x}}) == std::vector<float>{1, 4, 2, 5, 3, 6});
  CHECK(eval(emit.slice(a, 1, 1, 3), {{a, x}}) == std::vector<float>{2, 3, 5, 6});
  CHECK(eval(emit.slice(a, 0, 1, 2), {{a, x}}) == std::vector<float>{4, 5, 6});
  CHECK(eval(emit.concat({a, emit.slice(a, 1, 0, 1)}, 1), {{a, x}}) ==
        std::vector<float>{1, 2, 3, 1, 4, 5, 6, 4});
  CHECK(eval(emit.concat({a, a}, 0), {{a, x}}) == std::vector<float>{1, 2, 3, 4, 5, 6, 1, 2, 3, 4, 5, 6});
  CHECK(eval(emit.broadcast(emit.slice(a, 1, 2, 3), constant_dims({2, 2, 2})), {{a, x}}) ==
        std::vector<float>{3, 3, 6, 6, 3, 3, 6, 6});
  const llmh_tensor c = placeholder(graph, constant_dims({2, 3, 4}));
  const auto y = random_floats(random, 24);
  const auto turned = eval(emit.permute(c, {2, 0, 1}), {{c, y}});
  for (size_t i = 0; i < 24; ++i) CHECK(turned[i] == y[i / 3 % 2 * 12 + i % 3 * 4 + i / 6]);
}

TEST_CASE_FIXTURE(Fixture, "gather takes rows and refuses ids outside") {
  const llmh_tensor table = placeholder(graph, constant_dims({3, 2}));
  const llmh_tensor rows = emit.gather(table, graph.add_input(LLMH_INPUT_TOKEN_IDS));
  step.token_ids = {2, 0, 2};
  CHECK(eval(rows, {{table, {1, 2, 3, 4, 5, 6}}}) == std::vector<float>{5, 6, 1, 2, 5, 6});
  step.token_ids[1] = 3;
  CHECK_THROWS_WITH_AS(eval(rows, {}), "gather: id 3 is outside the 3 rows", Error);
  step.token_ids[1] = -1;
  CHECK_THROWS_AS(eval(rows, {}), Error);
}

TEST_CASE_FIXTURE(Fixture, "top_k is descending, the lower of equal indices first, NaN last") {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const llmh_tensor x = placeholder(graph, constant_dims({3, 5}));
  const std::vector<float> values = {1, 3, 2, 3, 3, nan, -infinity, 4, nan, 0, nan, -1, nan, nan, nan};
  auto attrs = make_attrs<llmh_top_k_attrs>();
  attrs.k = 3;
  const llmh_tensor inputs[] = {x};
  const auto outputs = graph.add_node(LLMH_OP_TOP_K, "", inputs, &attrs, sizeof attrs);
  const llmh_tensor ids = emit.cast(outputs[1], LLMH_DTYPE_F32);
  const llmh_tensor mask = test::add(graph, LLMH_OP_TOP_K_MASK, {x}, attrs);
  CHECK(graph.tensor(outputs[1]).dtype == LLMH_DTYPE_I32);
  CHECK(eval(ids, {{x, values}}) == std::vector<float>{1, 3, 4, 2, 4, 1, 1, 0, 2});
  const auto largest = eval(outputs[0], {{x, values}});
  CHECK(std::vector(largest.begin(), largest.begin() + 7) ==
        std::vector<float>{3, 3, 3, 4, 0, -infinity, -1});
  CHECK(std::isnan(largest[7]));
  CHECK(eval(mask, {{x, values}}) == std::vector<float>{0, 1, 0, 1, 1, 0, 1, 1, 0, 1, 1, 1, 1, 0, 0});
  for (const int32_t wrong : {0, 6, -1}) {
    attrs.k = wrong;
    CHECK_THROWS_AS(test::add(graph, LLMH_OP_TOP_K_MASK, {x}, attrs), Error);
  }
}

TEST_CASE_FIXTURE(Fixture, "clamp gives the nearest value of an interval") {
  const llmh_tensor x = placeholder(graph, constant_dims({6}));
  const std::vector<float> values = {-infinity, -1, 0.5F, 3, infinity, std::nanf("")};
  auto attrs = make_attrs<llmh_clamp_attrs>();
  attrs.min = -0.5F;
  attrs.max = 2;
  auto clamped = eval(test::add(graph, LLMH_OP_CLAMP, {x}, attrs), {{x, values}});
  CHECK(std::isnan(clamped.back()));
  clamped.pop_back();
  CHECK(clamped == std::vector<float>{-0.5F, -0.5F, 0.5F, 2, 2});
  attrs.max = infinity;
  CHECK(eval(test::add(graph, LLMH_OP_CLAMP, {x}, attrs), {{x, values}})[4] == infinity);
  attrs.max = -1;
  CHECK_THROWS_WITH_AS(test::add(graph, LLMH_OP_CLAMP, {x}, attrs), "clamp: min is -0.5, max is -1", Error);
  attrs.max = std::nanf("");
  CHECK_THROWS_AS(test::add(graph, LLMH_OP_CLAMP, {x}, attrs), Error);
}

TEST_CASE_FIXTURE(Fixture, "take gives elements of each row by index") {
  const llmh_tensor x = placeholder(graph, constant_dims({2, 4}));
  auto attrs = make_attrs<llmh_top_k_attrs>();
  attrs.k = 2;
  const llmh_tensor by = placeholder(graph, constant_dims({2, 4}));
  const llmh_tensor inputs[] = {by};
  const llmh_tensor ids = graph.add_node(LLMH_OP_TOP_K, "", inputs, &attrs, sizeof attrs)[1];
  const llmh_tensor taken = test::add(graph, LLMH_OP_TAKE, {x, ids});
  CHECK(eval(taken, {{x, {1, 2, 3, 4, 5, 6, 7, 8}}, {by, {0, 9, 0, 8, 7, 0, 0, 9}}}) ==
        std::vector<float>{2, 4, 8, 5});
  const int32_t given[] = {0, 4};
  const int64_t shape[] = {2, 1};
  const llmh_tensor outside =
      graph.add_constant("ids", LLMH_DTYPE_I32, shape, std::as_bytes(std::span(given)));
  const llmh_tensor wrong = test::add(graph, LLMH_OP_TAKE, {x, outside});
  CHECK_THROWS_WITH_AS(eval(wrong, {}), "take: id 4 is outside the 4 elements", Error);
  const llmh_tensor other = placeholder(graph, constant_dims({3, 4}));
  CHECK_THROWS_WITH_AS(test::add(graph, LLMH_OP_TAKE, {other, ids}),
                       "take: x is [3,4], ids are [2,2]: they may differ in the last dimension only", Error);
}

TEST_CASE_FIXTURE(Fixture, "casts round to nearest even and decode blocks") {
  const llmh_tensor a = placeholder(graph, constant_dims({7}));
  const std::vector<float> x = {1.0F,     1.0F + 0x1p-11F, 1.0F + 3 * 0x1p-11F, 65504.0F,
                                65520.0F, 0x1p-24F,        -0x1.8p-25F};
  const auto f16 = eval(emit.cast(emit.cast(a, LLMH_DTYPE_F16), LLMH_DTYPE_F32), {{a, x}});
  CHECK(f16 == std::vector<float>{1.0F, 1.0F, 1.0F + 0x1p-9F, 65504.0F, infinity, 0x1p-24F, -0x1p-24F});
  const auto bf16 = eval(emit.cast(emit.cast(a, LLMH_DTYPE_BF16), LLMH_DTYPE_F32),
                         {{a, {1.0F, 1.0F + 0x1p-8F, 1.0F + 3 * 0x1p-8F, -infinity, 3.0e38F, 0, -2}}});
  CHECK(bf16[1] == 1.0F);
  CHECK(bf16[2] == 1.0F + 0x1p-6F);
  CHECK(bf16[3] == -infinity);

  Graph packed_graph;
  const llmh_tensor packed = placeholder(packed_graph, constant_dims({2, 32}), LLMH_DTYPE_Q8_0);
  const llmh_tensor decoded = Emit(packed_graph, "").cast(packed, LLMH_DTYPE_F32);
  std::vector<std::byte> blocks(68);
  for (size_t i = 0; i < blocks.size(); ++i)
    blocks[i] = static_cast<std::byte>(i % 34 == 1 ? 0x3C : i % 34 == 0 ? 0 : i);
  std::vector<float> expected(64);
  dequantize_row(LLMH_DTYPE_Q8_0, blocks.data(), expected.data(), 64);
  Run run(packed_graph, step);
  CHECK(run.set_bytes(packed, blocks).eval().floats(decoded) == expected);
  CHECK(expected[0] == 2.0F);
}

}  // namespace
}  // namespace llmhost::graph
