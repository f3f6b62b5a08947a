// EXPERT_LINEAR over every stored type, and the ops that choose experts, on every instruction set.
#include <doctest/doctest.h>

#include <cmath>
#include <cstring>

#include "backend_fixture.h"
#include "core/dequantize.h"
#include "core/error.h"
#include "graph/reference.h"

namespace llmhost::test {
namespace {

using graph::constant_dim;
using graph::symbol_dim;

const llmh_dim kTokenDim = symbol_dim(LLMH_DIM_TOKENS);
constexpr int32_t kMostTokens = 40;

struct Experts {
  int64_t experts = 4, outputs = 9, inputs = 32, selected = 2;
  bool shared_x = true;  // one row of x a token
  bool biased = false;
  llmh_dtype dtype = LLMH_DTYPE_F32;
  int64_t used = 0;  // only the first few experts are chosen; 0: all
};

// One node with values for kMostTokens tokens.
struct ExpertGraph {
  explicit ExpertGraph(const Experts& shape) : sizes(shape) {
    const auto count = [](int64_t n) { return static_cast<size_t>(n); };
    graph::Dims x_dims = {kTokenDim, constant_dim(sizes.inputs)};
    if (!sizes.shared_x) x_dims.insert(x_dims.begin() + 1, constant_dim(sizes.selected));
    x = graph.add_placeholder({LLMH_DTYPE_F32, x_dims});
    ids = graph.add_placeholder({LLMH_DTYPE_I32, {kTokenDim, constant_dim(sizes.selected)}});
    const std::vector<int64_t> w_shape{sizes.experts, sizes.outputs, sizes.inputs};
    const llmh_tensor w = graph.add_weight("w", sizes.dtype, w_shape);
    weights[w] = random_blocks(sizes.dtype, sizes.experts * sizes.outputs, sizes.inputs, 7);
    w_values.resize(count(sizes.experts * sizes.outputs * sizes.inputs));
    dequantize_row(sizes.dtype, weights[w].data(), w_values.data(), w_values.size());
    llmh_tensor b = LLMH_NO_TENSOR;
    b_values.assign(count(sizes.experts * sizes.outputs), 0.0F);
    if (sizes.biased) {
      const std::vector<int64_t> b_shape{sizes.experts, sizes.outputs};
      b = graph.add_weight("b", LLMH_DTYPE_F32, b_shape);
      b_values = random_floats(b_values.size(), 8);
      weights[b] = bytes_of(b_values);
    }
    const std::vector<llmh_tensor> inputs{x, w, ids, b};
    y = graph.add_node(LLMH_OP_EXPERT_LINEAR, "m", inputs)[0];
    x_values = random_floats(count(kMostTokens * x_width()), 9);
    const auto choices = static_cast<uint32_t>(sizes.used == 0 ? sizes.experts : sizes.used);
    uint32_t state = 12345;
    for (int64_t i = 0; i < kMostTokens * sizes.selected; ++i) {
      state = state * 1664525U + 1013904223U;
      id_values.push_back(static_cast<int32_t>((state >> 8) % choices));
    }
  }

  int64_t x_width() const { return sizes.inputs * (sizes.shared_x ? 1 : sizes.selected); }
  int64_t y_width() const { return sizes.outputs * sizes.selected; }

  std::vector<float> run(Model& m, int32_t first, int32_t tokens) const {
    const auto count = static_cast<size_t>(tokens);
    m.write(x, x_values.data() + first * x_width(), count * static_cast<size_t>(x_width()) * sizeof(float));
    m.write(ids, id_values.data() + first * sizes.selected,
            count * static_cast<size_t>(sizes.selected) * sizeof(int32_t));
    const StepArrays step({{0, tokens, 0, tokens}});
    m.run(step);
    return m.read(y, step);
  }

  // |error| <= 4 sqrt(K) 2^-24 sum |x w|, as for LINEAR, plus the bias's rounding.
  int64_t wrong_elements(const std::vector<float>& got) const {
    int64_t wrong = 0;
    for (size_t i = 0; i < got.size(); ++i) {
      const auto row = static_cast<int64_t>(i) / sizes.outputs;
      const int64_t out = int64_t{id_values[static_cast<size_t>(row)]} * sizes.outputs +
                          static_cast<int64_t>(i) % sizes.outputs;
      const int64_t x_row = sizes.shared_x ? row / sizes.selected : row;
      auto sum = static_cast<double>(b_values[static_cast<size_t>(out)]);
      double size = std::abs(sum);
      for (int64_t k = 0; k < sizes.inputs; ++k) {
        const double term = static_cast<double>(x_values[static_cast<size_t>(x_row * sizes.inputs + k)]) *
                            static_cast<double>(w_values[static_cast<size_t>(out * sizes.inputs + k)]);
        sum += term;
        size += std::abs(term);
      }
      const double bound = 4 * std::sqrt(static_cast<double>(sizes.inputs)) * 0x1p-24 * size + 1e-30;
      if (!(std::abs(static_cast<double>(got[i]) - sum) <= bound)) ++wrong;
    }
    return wrong;
  }

  Experts sizes;
  graph::Graph graph;
  Model::Weights weights;
  std::vector<float> w_values, b_values, x_values;
  std::vector<int32_t> id_values;
  llmh_tensor x = 0, ids = 0, y = 0;
};

std::vector<Experts> shapes() {
  std::vector<Experts> all;
  all.push_back({});
  all.push_back({.experts = 1, .outputs = 3, .inputs = 5, .selected = 1});
  all.push_back({.outputs = 70, .inputs = 33, .selected = 3, .shared_x = false, .biased = true});
  all.push_back({.experts = 64, .outputs = 17, .inputs = 40, .selected = 8, .biased = true});
  all.push_back({.experts = 16, .selected = 5, .shared_x = false, .used = 3});
  all.push_back({.experts = 8, .selected = 4, .biased = true, .used = 1});
  return all;
}

bool is_stored_type(llmh_dtype dtype) {
  const llmh_dtype_layout layout = llmh_dtype_layout_of(dtype);
  return layout.block_elements > 1 || dtype == LLMH_DTYPE_F32 || dtype == LLMH_DTYPE_F16 ||
         dtype == LLMH_DTYPE_BF16 || dtype == LLMH_DTYPE_F64;
}

bool same_bits(const float* a, const float* b, size_t n) {
  return std::memcmp(a, b, n * sizeof(float)) == 0;
}

}  // namespace

TEST_CASE("EXPERT_LINEAR agrees with loops in double precision and with the reference") {
  Instance reference(*graph::reference_backend());
  for (const Experts& shape : shapes()) {
    CAPTURE(shape.experts);
    CAPTURE(shape.selected);
    const ExpertGraph g(shape);
    Model expected(reference, g.graph, g.weights);
    for (const int32_t tokens : {1, 3, kMostTokens}) {
      CAPTURE(tokens);
      CHECK(g.wrong_elements(g.run(expected, 0, tokens)) == 0);
      for (const std::string& isa : usable_isas()) {
        CAPTURE(isa);
        Instance instance(cpu_backend(), isa, tokens == 3 ? 0 : 2);
        Model m(instance, g.graph, g.weights);
        CHECK(g.wrong_elements(g.run(m, 0, tokens)) == 0);
      }
    }
  }
}

TEST_CASE("EXPERT_LINEAR decodes every stored type") {
  for (const std::string& isa : usable_isas()) {
    Instance instance(cpu_backend(), isa, 2);
    int n_types = 0;
    for (llmh_dtype dtype = 1; dtype < LLMH_DTYPE_COUNT_; ++dtype) {
      if (!is_stored_type(dtype)) continue;
      CAPTURE(isa);
      CAPTURE(llmh_dtype_layout_of(dtype).name);
      const ExpertGraph g({.experts = 3, .outputs = 11, .inputs = 512, .dtype = dtype});
      Model m(instance, g.graph, g.weights);
      CHECK(g.wrong_elements(g.run(m, 0, 1)) == 0);
      CHECK(g.wrong_elements(g.run(m, 0, kMostTokens)) == 0);
      ++n_types;
    }
    CHECK(n_types >= 27);
  }
}

TEST_CASE("EXPERT_LINEAR gives a row the same bits whoever shares its expert, on any number of threads") {
  std::vector<Experts> all = shapes();
  all.push_back({.experts = 5, .outputs = 200, .inputs = 512, .selected = 3, .dtype = LLMH_DTYPE_Q4_K});
  for (const std::string& isa : usable_isas())
    for (const Experts& shape : all) {
      CAPTURE(isa);
      CAPTURE(shape.experts);
      CAPTURE(shape.selected);
      const ExpertGraph g(shape);
      Instance alone(cpu_backend(), isa);
      Model single(alone, g.graph, g.weights);
      const auto together = g.run(single, 0, kMostTokens);
      const auto width = static_cast<size_t>(g.y_width());
      for (const int32_t threads : {1, 2, 3}) {
        Instance threaded(cpu_backend(), isa, threads);
        Model m(threaded, g.graph, g.weights);
        CHECK(same_bits(g.run(m, 0, kMostTokens).data(), together.data(), together.size()));
        for (const int32_t chunk : {1, 7})
          for (int32_t first = 0; first + chunk <= kMostTokens; first += chunk) {
            const auto part = g.run(m, first, chunk);
            CHECK(same_bits(part.data(), together.data() + static_cast<size_t>(first) * width, part.size()));
          }
      }
    }
}

TEST_CASE("EXPERT_LINEAR refuses an id without an expert") {
  ExpertGraph g({});
  Instance instance(cpu_backend());
  Model m(instance, g.graph, g.weights);
  g.run(m, 0, 2);
  for (const int32_t wrong : {4, -1}) {
    const int32_t ids[] = {0, 1, wrong, 3};
    m.write(g.ids, ids, sizeof ids);
    std::string message;
    CHECK(m.try_run(StepArrays({{0, 2, 0, 2}}), &message) == LLMH_OUT_OF_RANGE);
    CHECK(message.find("at index 2 is outside the 4 experts") != std::string::npos);
  }
}

TEST_CASE("TOP_K, TOP_K_MASK and TAKE give the reference's bits") {
  for (const int64_t width : {1, 2, 8, 60, 257})
    for (const int64_t k : {1, 2, 8, 200}) {
      if (k > width) continue;
      CAPTURE(width);
      CAPTURE(k);
      graph::Graph g;
      const graph::Dims dims = {kTokenDim, constant_dim(3), constant_dim(width)};
      const llmh_tensor x = g.add_placeholder({LLMH_DTYPE_F32, dims});
      auto attrs = graph::make_attrs<llmh_top_k_attrs>();
      attrs.k = static_cast<int32_t>(k);
      const std::vector<llmh_tensor> inputs{x};
      const auto largest = g.add_node(LLMH_OP_TOP_K, "m", inputs, &attrs, sizeof attrs);
      const auto mask = g.add_node(LLMH_OP_TOP_K_MASK, "m", inputs, &attrs, sizeof attrs)[0];
      const std::vector<llmh_tensor> pair{mask, largest[1]};
      const auto taken = g.add_node(LLMH_OP_TAKE, "m", pair)[0];
      // Few values, so that many are equal; infinities and NaN among them.
      auto values = random_floats(static_cast<size_t>(kMostTokens * 3 * width), 3, 0.0F, 6.0F);
      for (float& value : values) {
        value = std::floor(value);
        if (value == 5.0F) value = NAN;
        if (value == 4.0F) value = -INFINITY;
      }
      const auto results = [&](Instance& instance) {
        Model m(instance, g, {});
        m.write(x, values.data(), values.size() * sizeof(float));
        const StepArrays step({{0, kMostTokens, 0, kMostTokens}});
        m.run(step);
        return std::vector{m.read(largest[0], step), m.read(largest[1], step), m.read(mask, step),
                           m.read(taken, step)};
      };
      Instance reference(*graph::reference_backend());
      const auto want = results(reference);
      for (const float value : want[3]) CHECK(value == 1.0F);
      Instance instance(cpu_backend(), {}, 2);
      const auto got = results(instance);
      for (size_t i = 0; i < want.size(); ++i) {
        REQUIRE(got[i].size() == want[i].size());
        CHECK(same_bits(got[i].data(), want[i].data(), want[i].size()));
      }
    }
}

}  // namespace llmhost::test
