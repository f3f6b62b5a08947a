// What tests of single gradient ops share: the forward op in double with a weighted sum as loss, the gradient
// op on the reference evaluator, element by element.
#pragma once

#include <algorithm>
#include <cmath>
#include <string>

#include "finite_difference.h"
#include "graph/decompose.h"

namespace llmhost::graph::test {

// The weights of add_random_loss: the gradient of its loss by y, where all rows are output rows.
inline std::vector<float> loss_weights(size_t rows, size_t width, uint32_t seed = 1) {
  std::mt19937 random(seed);
  const auto row = random_floats(random, width);
  std::vector<float> result;
  for (size_t i = 0; i < rows; ++i) result.insert(result.end(), row.begin(), row.end());
  return result;
}

// The largest difference from the derivatives, relative to the largest of them (or 1e-3).
inline double worst_off(const std::vector<float>& actual, const std::vector<Derivative>& derivatives) {
  double largest = 1e-3;
  for (const Derivative& d : derivatives) largest = std::max(largest, std::fabs(d.value));
  double worst = 0;
  for (const Derivative& d : derivatives) {
    const double off = std::fabs(static_cast<double>(actual.at(d.element)) - d.value) / largest;
    worst = std::isfinite(off) ? std::max(worst, off) : 1e30;
  }
  return worst;
}

inline llmh_tensor named(Graph& graph, const std::string& name, Dims dims,
                         llmh_dtype dtype = LLMH_DTYPE_F32) {
  const llmh_tensor tensor = placeholder(graph, std::move(dims), dtype);
  graph.set_name(tensor, name);
  return tensor;
}

// A graph of one node over named placeholders, run on the reference evaluator, whole or decomposed.
struct NodeRun {
  Graph graph;
  std::vector<llmh_tensor> outputs;

  std::vector<std::vector<float>> eval(const StepData& step, const Values& values, bool decomposed = false) {
    for (size_t i = 0; i < outputs.size(); ++i)
      if (graph.has_default_name(outputs[i])) graph.set_name(outputs[i], "result" + std::to_string(i));
    const Graph parts = decompose(graph, [&](const Graph&, uint32_t) { return !decomposed; });
    Run run(parts, step);
    for (const auto& [name, floats] : values.floats)
      if (const llmh_tensor tensor = parts.find(name); tensor != LLMH_NO_TENSOR) run.set(tensor, floats);
    for (const auto& [name, bytes] : values.bytes)
      if (const llmh_tensor tensor = parts.find(name); tensor != LLMH_NO_TENSOR) run.set_bytes(tensor, bytes);
    run.eval();
    std::vector<std::vector<float>> results;
    for (size_t i = 0; i < outputs.size(); ++i)
      results.push_back(run.floats(parts.find("result" + std::to_string(i))));
    return results;
  }
};

template <typename Attrs>
NodeRun node_run(Graph graph, llmh_op op, const std::vector<llmh_tensor>& inputs, const Attrs& attrs) {
  NodeRun run{std::move(graph), {}};
  run.outputs = run.graph.add_node(op, "", inputs, &attrs, sizeof attrs);
  return run;
}
inline NodeRun node_run(Graph graph, llmh_op op, const std::vector<llmh_tensor>& inputs) {
  NodeRun run{std::move(graph), {}};
  run.outputs = run.graph.add_node(op, "", inputs);
  return run;
}

}  // namespace llmhost::graph::test
