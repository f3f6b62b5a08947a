// LINEAR, EMBEDDING and CAST over every stored type on every instruction set.
#include <doctest/doctest.h>

#include <cmath>
#include <cstring>

#include "backend_fixture.h"
#include "core/dequantize.h"

namespace llmhost::test {
namespace {

constexpr llmh_dtype kStoredTypes[] = {
    LLMH_DTYPE_F32,    LLMH_DTYPE_F16,     LLMH_DTYPE_BF16,  LLMH_DTYPE_F64,     LLMH_DTYPE_Q4_0,
    LLMH_DTYPE_Q4_1,   LLMH_DTYPE_Q5_0,    LLMH_DTYPE_Q5_1,  LLMH_DTYPE_Q8_0,    LLMH_DTYPE_Q2_K,
    LLMH_DTYPE_Q3_K,   LLMH_DTYPE_Q4_K,    LLMH_DTYPE_Q5_K,  LLMH_DTYPE_Q6_K,    LLMH_DTYPE_IQ4_NL,
    LLMH_DTYPE_IQ4_XS, LLMH_DTYPE_IQ1_S,   LLMH_DTYPE_IQ1_M, LLMH_DTYPE_IQ2_XXS, LLMH_DTYPE_IQ2_XS,
    LLMH_DTYPE_IQ2_S,  LLMH_DTYPE_IQ3_XXS, LLMH_DTYPE_IQ3_S, LLMH_DTYPE_TQ1_0,   LLMH_DTYPE_TQ2_0,
    LLMH_DTYPE_MXFP4,  LLMH_DTYPE_NVFP4,   LLMH_DTYPE_NF4,   LLMH_DTYPE_FP4,     LLMH_DTYPE_E4M3_32,
    LLMH_DTYPE_I8_32};

std::vector<float> decoded(llmh_dtype dtype, const std::vector<std::byte>& data, int64_t count) {
  std::vector<float> result(static_cast<size_t>(count));
  dequantize_row(dtype, data.data(), result.data(), result.size());
  return result;
}

// x [T, K] times a weight [N, K] of some type, with a bias.
struct LinearGraph {
  LinearGraph(llmh_dtype dtype, int64_t n, int64_t k, bool with_bias) {
    x = graph.add_placeholder({LLMH_DTYPE_F32, {graph::symbol_dim(LLMH_DIM_TOKENS), graph::constant_dim(k)}});
    const std::vector<int64_t> shape{n, k};
    const llmh_tensor w = graph.add_weight("w", dtype, shape);
    weights[w] = random_blocks(dtype, n, k, 7);
    llmh_tensor b = LLMH_NO_TENSOR;
    if (with_bias) {
      const std::vector<int64_t> bias_shape{n};
      b = graph.add_weight("b", LLMH_DTYPE_F32, bias_shape);
      bias = random_floats(static_cast<size_t>(n), 8);
      weights[b] = bytes_of(bias);
    }
    w_values = decoded(dtype, weights[w], n * k);
    const std::vector<llmh_tensor> inputs{x, w, b};
    y = graph.add_node(LLMH_OP_LINEAR, "m", inputs)[0];
  }
  graph::Graph graph;
  Model::Weights weights;
  std::vector<float> w_values, bias;
  llmh_tensor x = 0, y = 0;
};

// |error| <= 4 sqrt(K) 2^-24 sum |x w| (random walk of K roundings, factor 4 for certainty), plus the bias's
// rounding.
void check_linear(const LinearGraph& g, const std::vector<float>& x, const std::vector<float>& y,
                  int64_t tokens, int64_t n, int64_t k) {
  int64_t wrong = 0;
  for (int64_t t = 0; t < tokens; ++t) {
    for (int64_t r = 0; r < n; ++r) {
      double sum = g.bias.empty() ? 0.0 : static_cast<double>(g.bias[static_cast<size_t>(r)]);
      double size = std::abs(sum);
      for (int64_t i = 0; i < k; ++i) {
        const double term = static_cast<double>(x[static_cast<size_t>(t * k + i)]) *
                            static_cast<double>(g.w_values[static_cast<size_t>(r * k + i)]);
        sum += term;
        size += std::abs(term);
      }
      const double bound = 4 * std::sqrt(static_cast<double>(k)) * 0x1p-24 * size + 1e-30;
      if (!(std::abs(static_cast<double>(y[static_cast<size_t>(t * n + r)]) - sum) <= bound)) ++wrong;
    }
  }
  CHECK(wrong == 0);
}

}  // namespace

TEST_CASE("CAST decodes every stored type to the bit") {
  for (const std::string& isa : usable_isas()) {
    Instance instance(cpu_backend(), isa);
    for (const llmh_dtype dtype : kStoredTypes) {
      CAPTURE(isa);
      CAPTURE(llmh_dtype_layout_of(dtype).name);
      graph::Graph g;
      const std::vector<int64_t> shape{3, 1280};
      const llmh_tensor w = g.add_weight("w", dtype, shape);
      auto attrs = graph::make_attrs<llmh_cast_attrs>();
      attrs.dtype = LLMH_DTYPE_F32;
      const std::vector<llmh_tensor> inputs{w};
      const llmh_tensor y = g.add_node(LLMH_OP_CAST, "", inputs, &attrs, sizeof attrs)[0];
      const Model::Weights weights{{w, random_blocks(dtype, 3, 1280, 99)}};
      Model m(instance, g, weights);
      const StepArrays step({{0, 1, 0, 1}});
      m.run(step);
      const auto result = m.read(y, step);
      const auto expected = decoded(dtype, weights.at(w), 3 * 1280);
      CHECK(std::memcmp(result.data(), expected.data(), result.size() * sizeof(float)) == 0);
    }
  }
}

TEST_CASE("f16 decodes every finite and infinite bit pattern exactly") {
  std::vector<std::byte> all(65536 * 2);
  for (uint32_t i = 0; i < 65536; ++i) {
    const auto bits = static_cast<uint16_t>((i & 0x7C00U) == 0x7C00U ? i & 0xFC00U : i);
    std::memcpy(&all[i * 2], &bits, 2);
  }
  for (const std::string& isa : usable_isas()) {
    CAPTURE(isa);
    Instance instance(cpu_backend(), isa);
    graph::Graph g;
    const std::vector<int64_t> shape{65536};
    const llmh_tensor w = g.add_weight("w", LLMH_DTYPE_F16, shape);
    auto attrs = graph::make_attrs<llmh_cast_attrs>();
    attrs.dtype = LLMH_DTYPE_F32;
    const std::vector<llmh_tensor> inputs{w};
    const llmh_tensor y = g.add_node(LLMH_OP_CAST, "", inputs, &attrs, sizeof attrs)[0];
    const Model::Weights weights{{w, all}};
    Model m(instance, g, weights);
    const StepArrays step({{0, 1, 0, 1}});
    m.run(step);
    const auto result = m.read(y, step);
    const auto expected = decoded(LLMH_DTYPE_F16, all, 65536);
    CHECK(std::memcmp(result.data(), expected.data(), result.size() * sizeof(float)) == 0);
  }
}

TEST_CASE("LINEAR over every stored type, instruction set and some shapes") {
  for (const std::string& isa : usable_isas()) {
    Instance instance(cpu_backend(), isa, 2);
    for (const llmh_dtype dtype : kStoredTypes) {
      const int64_t k = 512;
      LinearGraph g(dtype, 37, k, dtype % 2 == 0);
      Model m(instance, g.graph, g.weights);
      for (const int32_t tokens : {1, 3, 33}) {
        CAPTURE(isa);
        CAPTURE(llmh_dtype_layout_of(dtype).name);
        CAPTURE(tokens);
        const StepArrays step({{0, tokens, 0, tokens}});
        const auto x = random_floats(static_cast<size_t>(tokens * k), 3);
        m.write(g.x, x.data(), x.size() * sizeof(float));
        m.run(step);
        check_linear(g, x, m.read(g.y, step), tokens, 37, k);
      }
    }
  }
}

TEST_CASE("MATMUL with a stored matrix is LINEAR without a bias, to the bit") {
  for (const llmh_dtype dtype : kStoredTypes) {
    CAPTURE(llmh_dtype_layout_of(dtype).name);
    LinearGraph g(dtype, 37, 256, false);
    auto attrs = graph::make_attrs<llmh_matmul_attrs>();
    attrs.transpose_b = 1;
    const std::vector<llmh_tensor> inputs{g.x, g.weights.begin()->first};
    const llmh_tensor y = g.graph.add_node(LLMH_OP_MATMUL, "p", inputs, &attrs, sizeof attrs)[0];
    Instance instance(cpu_backend(), {}, 2);
    Model m(instance, g.graph, g.weights);
    const StepArrays step({{0, 9, 0, 9}});
    const auto x = random_floats(9 * 256, 3);
    m.write(g.x, x.data(), x.size() * sizeof(float));
    m.run(step);
    CHECK(m.read(y, step) == m.read(g.y, step));
  }
}

TEST_CASE("LINEAR with depths that are no whole vectors") {
  for (const std::string& isa : usable_isas()) {
    Instance instance(cpu_backend(), isa);
    for (const llmh_dtype dtype : {LLMH_DTYPE_F32, LLMH_DTYPE_F16, LLMH_DTYPE_BF16}) {
      for (const int64_t k : {0, 1, 3, 31, 33, 257}) {
        for (const int64_t n : {1, 3, 31}) {
          CAPTURE(isa);
          CAPTURE(k);
          CAPTURE(n);
          LinearGraph g(dtype, n, k, true);
          Model m(instance, g.graph, g.weights);
          const StepArrays step({{0, 5, 0, 5}});
          const auto x = random_floats(static_cast<size_t>(5 * k), 3);
          m.write(g.x, x.data(), x.size() * sizeof(float));
          m.run(step);
          check_linear(g, x, m.read(g.y, step), 5, n, k);
        }
      }
    }
  }
}

TEST_CASE("LINEAR gives a token the same bits whatever the batch and the threads") {
  for (const std::string& isa : usable_isas()) {
    for (const llmh_dtype dtype : {LLMH_DTYPE_F32, LLMH_DTYPE_Q4_1, LLMH_DTYPE_Q6_K}) {
      CAPTURE(isa);
      const int64_t k = 768;
      const int64_t n = 203;
      const int32_t tokens = 130;
      LinearGraph g(dtype, n, k, true);
      const auto x = random_floats(static_cast<size_t>(tokens * k), 3);
      std::vector<float> together;
      for (const int32_t threads : {0, 2, 3}) {
        Instance instance(cpu_backend(), isa, threads);
        Model m(instance, g.graph, g.weights);
        const StepArrays all({{0, tokens, 0, tokens}});
        m.write(g.x, x.data(), x.size() * sizeof(float));
        m.run(all);
        const auto y = m.read(g.y, all);
        if (together.empty()) together = y;
        CHECK(std::memcmp(y.data(), together.data(), y.size() * sizeof(float)) == 0);
        for (int32_t begin = 0, count = 1; begin + count <= tokens; begin += count, count = count % 7 + 1) {
          const StepArrays some({{begin, count, 0, tokens}});
          m.write(g.x, x.data() + begin * k, static_cast<size_t>(count * k) * sizeof(float));
          m.run(some);
          const auto part = m.read(g.y, some);
          CHECK(std::memcmp(part.data(), together.data() + begin * n, part.size() * sizeof(float)) == 0);
        }
      }
    }
  }
}

TEST_CASE("EMBEDDING reads rows of any type and refuses ids outside the table") {
  for (const llmh_dtype dtype : kStoredTypes) {
    CAPTURE(llmh_dtype_layout_of(dtype).name);
    Instance instance(cpu_backend());
    graph::Graph g;
    const std::vector<int64_t> shape{11, 256};
    const llmh_tensor table = g.add_weight("w", dtype, shape);
    const std::vector<llmh_tensor> inputs{table, g.add_input(LLMH_INPUT_TOKEN_IDS)};
    const llmh_tensor y = g.add_node(LLMH_OP_EMBEDDING, "embed", inputs)[0];
    const Model::Weights weights{{table, random_blocks(dtype, 11, 256, 5)}};
    Model m(instance, g, weights);
    const StepArrays step({{0, 4, 0, 4}}, {10, 0, 3, 3});
    m.run(step);
    const auto rows = decoded(dtype, weights.at(table), 11 * 256);
    const auto result = m.read(y, step);
    for (size_t t = 0; t < 4; ++t)
      CHECK(std::memcmp(&result[t * 256], &rows[static_cast<size_t>(step.token_ids[t]) * 256], 1024) == 0);
    std::string message;
    CHECK(m.try_run(StepArrays({{0, 2, 0, 2}}, {1, 11}), &message) == LLMH_OUT_OF_RANGE);
    CHECK(message.find("id 11 at index 1") != std::string::npos);
    CHECK(m.try_run(StepArrays({{0, 1, 0, 1}}, {-1})) == LLMH_OUT_OF_RANGE);
  }
}

TEST_CASE("GATHER keeps the stored type, CAST decodes it") {
  for (const llmh_dtype dtype : kStoredTypes) {
    CAPTURE(llmh_dtype_layout_of(dtype).name);
    Instance instance(cpu_backend());
    graph::Graph g;
    const std::vector<int64_t> shape{11, 256};
    const llmh_tensor table = g.add_weight("w", dtype, shape);
    const std::vector<llmh_tensor> inputs{table, g.add_input(LLMH_INPUT_TOKEN_IDS)};
    const std::vector<llmh_tensor> rows{g.add_node(LLMH_OP_GATHER, "rows", inputs)[0]};
    auto to_f32 = graph::make_attrs<llmh_cast_attrs>();
    to_f32.dtype = LLMH_DTYPE_F32;
    const llmh_tensor y = g.add_node(LLMH_OP_CAST, "cast", rows, &to_f32, sizeof to_f32)[0];
    const Model::Weights weights{{table, random_blocks(dtype, 11, 256, 5)}};
    Model m(instance, g, weights);
    const StepArrays step({{0, 4, 0, 4}}, {10, 0, 3, 3});
    m.run(step);
    const auto expected = decoded(dtype, weights.at(table), 11 * 256);
    const auto result = m.read(y, step);
    for (size_t t = 0; t < 4; ++t)
      CHECK(std::memcmp(&result[t * 256], &expected[static_cast<size_t>(step.token_ids[t]) * 256], 1024) ==
            0);
  }
}

}  // namespace llmhost::test
