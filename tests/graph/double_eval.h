// Graphs in double precision: a second evaluator, independent of the host's, exact enough for central
// differences. It knows what forward passes of training are made of: composite ops through their parts, every
// primitive op in double. Values that no gradient goes through (DETACH, LOW_RANK_ROW_NORMS, TOP_K's choice)
// can be held at those of an earlier evaluation. CAST between floating types keeps the value as it is.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "graph/graph.h"
#include "graph_run.h"

namespace llmhost::graph::test {

struct DoubleTensor {
  std::vector<int64_t> sizes;
  std::vector<double> values;
  std::vector<int32_t> ids;  // of an i32 tensor, instead
  int64_t count() const;
};

class DoubleRun {
 public:
  // Tensors are found by name: parameters, weights and placeholders have to be named.
  DoubleRun(const Graph& graph, const StepData& step);

  DoubleRun& set(const std::string& name, const std::vector<double>& values);
  DoubleRun& set(const std::string& name, const std::vector<float>& values);
  // As stored, of any type, decoded.
  DoubleRun& set_bytes(const std::string& name, const std::vector<std::byte>& bytes);
  DoubleRun& set_ids(const std::string& name, const std::vector<int32_t>& ids);
  bool has(const std::string& name) const { return graph_.find(name) != LLMH_NO_TENSOR; }
  std::vector<double>& values(const std::string& name);  // of what was set

  // All nodes. From the second time on what no gradient goes through stays as it was the first time.
  void eval();
  const DoubleTensor& tensor(const std::string& name) const;
  // The values of an output of the graph, LLMH_OUTPUT_*.
  const std::vector<double>& output(int32_t kind) const;

  DoubleRun(const DoubleRun&) = delete;
  DoubleRun& operator=(const DoubleRun&) = delete;

 private:
  DoubleTensor& slot(const std::string& name);
  std::vector<int64_t> sizes_of(llmh_tensor tensor) const;
  void bind_constants();
  void eval_node(uint32_t node);
  void eval_through_host(uint32_t node);

  Graph graph_;
  StepData data_;
  llmh_step step_;
  std::vector<DoubleTensor> tensors_;
  bool is_first_ = true;
};

}  // namespace llmhost::graph::test
