// Composite ops, through the evaluator and as a decomposed graph, against direct formulas in double
// precision.
#include <doctest/doctest.h>

#include <cmath>

#include "core/dequantize.h"
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
using Doubles = std::vector<double>;

Doubles wide(const std::vector<float>& values) {
  return {values.begin(), values.end()};
}

struct Fixture {
  std::mt19937 random{5};
  Graph graph;
  StepData step{{0, 0}, {2, 3}};
  std::vector<std::pair<llmh_tensor, std::vector<float>>> values;

  llmh_tensor input(Dims dims) {
    const auto count = static_cast<size_t>(element_count(dims, {5, 2, 2, 5}));
    const llmh_tensor tensor = placeholder(graph, std::move(dims));
    graph.set_name(tensor, "in" + std::to_string(tensor));
    values.emplace_back(tensor, random_floats(random, count));
    return tensor;
  }
  const std::vector<float>& of(llmh_tensor tensor) const {
    for (const auto& [known, content] : values)
      if (known == tensor) return content;
    FAIL("no values");
    return values.front().second;
  }

  // 2e-6: a handful of f32 operations on values near 1.
  void check(llmh_tensor out, const Doubles& expected, double tolerance = 2e-6) {
    if (graph.has_default_name(out)) graph.set_name(out, "out" + std::to_string(out));
    Run whole(graph, step);
    for (const auto& [tensor, content] : values) whole.set(tensor, content);
    const auto direct = whole.eval().floats(out);
    CHECK(test::worst_error(direct, expected) < tolerance);

    const Graph parts = decompose(graph, [](const Graph&, uint32_t) { return false; });
    for (uint32_t i = 0; i < parts.node_count(); ++i)
      CHECK((find_op(parts.node(i).op)->decompose == nullptr));
    Run decomposed(parts, step);
    for (const auto& [tensor, content] : values)
      if (const llmh_tensor in = parts.find(to_view(graph.tensor(tensor).name)); in != LLMH_NO_TENSOR)
        decomposed.set(in, content);
    CHECK(decomposed.eval().floats(parts.find(to_view(graph.tensor(out).name))) == direct);
  }
};

TEST_CASE_FIXTURE(Fixture, "linear with and without bias") {
  const llmh_tensor x = input({kTokens, constant_dim(7)});
  const llmh_tensor w = input(constant_dims({3, 7}));
  const llmh_tensor b = input(constant_dims({3}));
  Doubles plain, biased;
  for (size_t t = 0; t < 5; ++t)
    for (size_t n = 0; n < 3; ++n) {
      double sum = 0;
      for (size_t i = 0; i < 7; ++i)
        sum += static_cast<double>(of(x)[t * 7 + i]) * static_cast<double>(of(w)[n * 7 + i]);
      plain.push_back(sum);
      biased.push_back(sum + static_cast<double>(of(b)[n]));
    }
  check(test::add(graph, LLMH_OP_LINEAR, {x, w}), plain);
  check(test::add(graph, LLMH_OP_LINEAR, {x, w, b}), biased);
  check(test::add(graph, LLMH_OP_LINEAR, {x, w, LLMH_NO_TENSOR}), plain);
}

TEST_CASE_FIXTURE(Fixture, "norms with weights, offset and bias") {
  const llmh_tensor x = input({kTokens, constant_dim(6)});
  const llmh_tensor w = input(constant_dims({6}));
  const llmh_tensor b = input(constant_dims({6}));
  const llmh_tensor y = input({kTokens, constant_dim(6)});
  auto attrs = make_attrs<llmh_norm_attrs>();
  attrs.eps = 0.01F;
  attrs.weight_offset = 1.0F;
  Doubles rms, bare, layer, sum, sum_rms;
  const double eps = static_cast<double>(attrs.eps);
  for (size_t t = 0; t < 5; ++t) {
    double square = 0, mean = 0, variance = 0, sum_square = 0;
    for (size_t i = 0; i < 6; ++i) {
      const double v = static_cast<double>(of(x)[t * 6 + i]);
      const double s = v + static_cast<double>(of(y)[t * 6 + i]);
      square += v * v / 6;
      mean += v / 6;
      sum_square += s * s / 6;
    }
    for (size_t i = 0; i < 6; ++i) variance += std::pow(static_cast<double>(of(x)[t * 6 + i]) - mean, 2) / 6;
    for (size_t i = 0; i < 6; ++i) {
      const double v = static_cast<double>(of(x)[t * 6 + i]);
      const double s = v + static_cast<double>(of(y)[t * 6 + i]);
      const double weight = static_cast<double>(of(w)[i]) + 1;
      rms.push_back(v / std::sqrt(square + eps) * weight);
      bare.push_back(v / std::sqrt(square + eps));
      layer.push_back((v - mean) / std::sqrt(variance + eps) * weight + static_cast<double>(of(b)[i]));
      sum.push_back(s);
      sum_rms.push_back(s / std::sqrt(sum_square + eps) * weight);
    }
  }
  check(test::add(graph, LLMH_OP_RMS_NORM, {x, w}, attrs), rms);
  check(test::add(graph, LLMH_OP_RMS_NORM, {x}, attrs), bare);
  check(test::add(graph, LLMH_OP_LAYER_NORM, {x, w, b}, attrs), layer);
  const llmh_tensor inputs[] = {x, y, w};
  const auto both = graph.add_node(LLMH_OP_ADD_RMS_NORM, "", inputs, &attrs, sizeof attrs);
  check(both[0], sum);
  check(both[1], sum_rms);
}

double act(int32_t kind, double x) {
  const double sigmoid = 1 / (1 + std::exp(-x));
  switch (kind) {
    case LLMH_ACT_SILU:
      return x * sigmoid;
    case LLMH_ACT_GELU:
      return 0.5 * x * (1 + std::erf(x / std::sqrt(2.0)));
    case LLMH_ACT_GELU_TANH:
      return 0.5 * x * (1 + std::tanh(std::sqrt(2 / 3.14159265358979323846) * (x + 0.044715 * x * x * x)));
    case LLMH_ACT_RELU:
      return std::max(x, 0.0);
    case LLMH_ACT_RELU_SQUARED:
      return std::pow(std::max(x, 0.0), 2);
    case LLMH_ACT_SIGMOID:
      return sigmoid;
    case LLMH_ACT_TANH:
      return std::tanh(x);
    default:
      return x / (1 + std::exp(-1.702 * x));
  }
}

TEST_CASE_FIXTURE(Fixture, "activations, gated and not, softcap, scale") {
  const llmh_tensor x = input({kTokens, constant_dim(9)});
  const llmh_tensor up = input({kTokens, constant_dim(9)});
  for (int32_t kind = LLMH_ACT_SILU; kind <= LLMH_ACT_GELU_QUICK; ++kind) {
    CAPTURE(kind);
    auto attrs = make_attrs<llmh_activation_attrs>();
    attrs.kind = kind;
    Doubles plain, gated;
    for (size_t i = 0; i < 45; ++i) {
      plain.push_back(act(kind, static_cast<double>(of(x)[i])));
      gated.push_back(plain.back() * static_cast<double>(of(up)[i]));
    }
    check(test::add(graph, LLMH_OP_ACTIVATION, {x}, attrs), plain);
    check(test::add(graph, LLMH_OP_GATED_ACTIVATION, {x, up}, attrs), gated);
  }
  auto value = make_attrs<llmh_scalar_attrs>();
  value.value = 0.75F;
  Doubles capped, scaled;
  for (const float v : of(x)) {
    capped.push_back(0.75 * std::tanh(static_cast<double>(v) / 0.75));
    scaled.push_back(static_cast<double>(v) * 0.75);
  }
  check(test::add(graph, LLMH_OP_SOFTCAP, {x}, value), capped);
  check(test::add(graph, LLMH_OP_SCALE, {x}, value), scaled);
}

TEST_CASE_FIXTURE(Fixture, "softmax, of large values and of rows without any") {
  const float inf = std::numeric_limits<float>::infinity();
  const llmh_tensor x = input({kTokens, constant_dim(3)});
  values[0].second = {1, 2, 3, 1000, 1001, -1000, -inf, -inf, -inf, -inf, 5, -inf, -3e38F, -3e38F, -inf};
  Doubles expected;
  const double total = std::exp(-2.0) + std::exp(-1.0) + 1;
  for (const double v : {std::exp(-2.0) / total, std::exp(-1.0) / total, 1 / total}) expected.push_back(v);
  for (const double v : {1 / (1 + std::exp(1.0)), 1 / (1 + std::exp(-1.0)), 0.0}) expected.push_back(v);
  for (const double v : {0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.5, 0.5, 0.0}) expected.push_back(v);
  check(test::add(graph, LLMH_OP_SOFTMAX, {x}), expected);
}

TEST_CASE_FIXTURE(Fixture, "rope turns pairs, in both layouts, and leaves the rest") {
  for (const int32_t style : {LLMH_ROPE_HALVES, LLMH_ROPE_INTERLEAVED})
    for (const int32_t rotary : {4, 8}) {
      const llmh_tensor x = input({kTokens, constant_dim(3 * 8)});
      const llmh_tensor cos = input({kTokens, constant_dim(rotary / 2)});
      const llmh_tensor sin = input({kTokens, constant_dim(rotary / 2)});
      auto attrs = make_attrs<llmh_rope_attrs>();
      attrs.n_heads = 3;
      attrs.head_dim = 8;
      attrs.rotary_dim = rotary;
      attrs.style = style;
      Doubles expected = wide(of(x));
      const auto half = static_cast<size_t>(rotary / 2);
      for (size_t row = 0; row < 15; ++row)
        for (size_t i = 0; i < half; ++i) {
          const size_t first = row * 8 + (style == LLMH_ROPE_HALVES ? i : 2 * i);
          const size_t second = style == LLMH_ROPE_HALVES ? first + half : first + 1;
          const double c = static_cast<double>(of(cos)[row / 3 * half + i]);
          const double s = static_cast<double>(of(sin)[row / 3 * half + i]);
          const double a = static_cast<double>(of(x)[first]);
          const double b = static_cast<double>(of(x)[second]);
          expected[first] = a * c - b * s;
          expected[second] = b * c + a * s;
        }
      check(test::add(graph, LLMH_OP_ROPE, {x, cos, sin}, attrs), expected);
    }
}

TEST_CASE_FIXTURE(Fixture, "embedding decodes rows of any stored type") {
  Graph tables;
  const llmh_tensor table = placeholder(tables, constant_dims({7, 32}), LLMH_DTYPE_Q4_1);
  const llmh_tensor rows =
      test::add(tables, LLMH_OP_EMBEDDING, {table, tables.add_input(LLMH_INPUT_TOKEN_IDS)});
  const llmh_tensor x = placeholder(tables, {kTokens, constant_dim(32)});
  const llmh_tensor y = test::add(tables, LLMH_OP_LINEAR, {x, table});
  std::vector<std::byte> blocks(7 * 20);
  for (std::byte& byte : blocks) byte = static_cast<std::byte>(random() & 0xFF);
  for (size_t row = 0; row < 7; ++row)
    blocks[row * 20 + 1] = blocks[row * 20 + 3] = std::byte{0x34};  // finite scales
  std::vector<float> decoded(7 * 32);
  dequantize_row(LLMH_DTYPE_Q4_1, blocks.data(), decoded.data(), decoded.size());
  step.token_ids = {6, 0, 3, 3, 1};
  const auto values_of_x = random_floats(random, 5 * 32);
  Run run(tables, step);
  run.set_bytes(table, blocks).set(x, values_of_x).eval();
  std::vector<float> expected;
  for (const int32_t id : step.token_ids)
    expected.insert(expected.end(), decoded.begin() + id * 32, decoded.begin() + (id + 1) * 32);
  CHECK(run.floats(rows) == expected);
  Doubles products;
  for (size_t t = 0; t < 5; ++t)
    for (size_t n = 0; n < 7; ++n) {
      double sum = 0;
      for (size_t i = 0; i < 32; ++i)
        sum += static_cast<double>(values_of_x[t * 32 + i]) * static_cast<double>(decoded[n * 32 + i]);
      products.push_back(sum);
    }
  CHECK(test::worst_error(run.floats(y), products) < 1e-6);
}

}  // namespace
}  // namespace llmhost::graph
