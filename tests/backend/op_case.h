// One node over random inputs, run on the CPU backend with every instruction set and on the reference
// evaluator.
//
// Tolerance: the error of each op in f32 is a few roundings of its largest term, so |y - r| <= tolerance * (1
// + |r|) with tolerance 2e-6 (16 roundings of 2^-23) unless a case states why it needs more.
#pragma once

#include <doctest/doctest.h>

#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "backend_fixture.h"
#include "graph/reference.h"
#include "graph/types.h"

namespace llmhost::test {

using graph::constant_dim;
using graph::symbol_dim;

constexpr double kTolerance = 2e-6;

// A graph of one node over placeholders [T, widths...] and weights.
struct OpCase {
  graph::Graph graph;
  std::vector<std::pair<llmh_tensor, std::vector<float>>> given;
  Model::Weights weights;
  std::vector<llmh_tensor> inputs;
  std::vector<llmh_tensor> outputs;
  std::vector<StateShape> states;

  // A placeholder whose largest size gets random values; a step reads the beginning.
  void activation(const graph::Dims& dims, uint32_t seed, float low = -2.0F, float high = 2.0F) {
    inputs.push_back(graph.add_placeholder({LLMH_DTYPE_F32, dims}));
    const graph::SymbolValues most{kMaxTokens, kMaxSequences, kMaxSequences, 0};
    given.emplace_back(inputs.back(),
                       random_floats(static_cast<size_t>(graph::element_count(dims, most)), seed, low, high));
  }
  void weight(const std::vector<int64_t>& shape, uint32_t seed) {
    const std::string name = "w" + std::to_string(inputs.size());
    inputs.push_back(graph.add_weight(name, LLMH_DTYPE_F32, shape));
    size_t n = 1;
    for (const int64_t size : shape) n *= static_cast<size_t>(size);
    weights[inputs.back()] = bytes_of(random_floats(n, seed));
  }
  template <typename Attrs>
  void node(llmh_op op, const Attrs& attrs) {
    outputs = graph.add_node(op, "m", inputs, &attrs, sizeof attrs);
  }
  void node(llmh_op op) { outputs = graph.add_node(op, "m", inputs); }
};

inline double worst_error(const std::vector<float>& got, const std::vector<float>& want) {
  double worst = got.size() == want.size() ? 0.0 : INFINITY;
  for (size_t i = 0; i < got.size() && i < want.size(); ++i) {
    const auto g = static_cast<double>(got[i]);
    const auto w = static_cast<double>(want[i]);
    if (g == w || (std::isnan(g) && std::isnan(w))) continue;
    const double error = std::abs(g - w) / (1.0 + std::abs(w));
    worst = std::isnan(error) ? INFINITY : std::max(worst, error);
  }
  return worst;
}

inline std::vector<std::vector<float>> outputs_on(Instance& instance, const OpCase& c,
                                                  const StepArrays& step) {
  Model m(instance, c.graph, c.weights, c.states);
  for (const auto& [tensor, values] : c.given) {
    const auto count = static_cast<size_t>(
        graph::element_count(graph::dims_of(c.graph.tensor(tensor)), graph::values_of(step.step)));
    m.write(tensor, values.data(), count * sizeof(float));
  }
  m.run(step);
  std::vector<std::vector<float>> result;
  for (const llmh_tensor output : c.outputs) result.push_back(m.read(output, step));
  return result;
}

struct CaseSteps {
  std::vector<int32_t> tokens = {1, 3, 33};
  uint64_t dropout_seed = 0;
};

inline void check_case(const OpCase& c, double tolerance = kTolerance, const CaseSteps& steps = {}) {
  Instance reference(*graph::reference_backend());
  for (const int32_t tokens : steps.tokens) {
    StepArrays step({{0, tokens, 0, tokens}});
    step.step.dropout_seed = steps.dropout_seed;
    const auto want = outputs_on(reference, c, step);
    for (const std::string& isa : usable_isas()) {
      CAPTURE(isa);
      CAPTURE(tokens);
      Instance instance(cpu_backend(), isa, tokens >= 33 ? 2 : 0);
      const auto got = outputs_on(instance, c, step);
      for (size_t i = 0; i < want.size(); ++i) CHECK(worst_error(got[i], want[i]) <= tolerance);
    }
  }
}

inline graph::Dims rows_of(int64_t width) {
  return {symbol_dim(LLMH_DIM_TOKENS), constant_dim(width)};
}

}  // namespace llmhost::test
