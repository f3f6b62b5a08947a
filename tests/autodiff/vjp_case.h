// Small graphs with one op at work between parameters and a sum, and the check of its gradients by finite
// differences on the reference evaluator. What is tested has the path "case", the rest the path "frame".
#pragma once

#include <cstddef>
#include <functional>
#include <initializer_list>
#include <map>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "graph/autodiff/autodiff.h"
#include "graph/autodiff/vjp.h"
#include "graph/emit.h"
#include "graph/graph.h"

namespace llmhost::graph::vjp_test {

using Bytes = std::vector<std::byte>;

// What a case's graph is given, by tensor name.
using Values = std::map<std::string, Bytes, std::less<>>;

// Builds the graph of a case and makes the values of its sources.
class CaseGraph {
 public:
  explicit CaseGraph(uint32_t seed) : random_(seed), at(graph, "case"), frame(graph, "frame") {}

  // [T, sizes...], every element of it a parameter's.
  llmh_tensor tokens(std::vector<int64_t> sizes, float scale = 1, float shift = 0);
  llmh_tensor outputs(std::vector<int64_t> sizes, float scale = 1);  // the same with R rows
  llmh_tensor parameter(std::vector<int64_t> sizes, float scale = 1, float shift = 0);
  // Away from 0 by 0.3 or more, of either sign or positive.
  llmh_tensor away_from_zero(std::vector<int64_t> sizes, bool positive);
  llmh_tensor constant(std::vector<int64_t> sizes, float scale = 1);  // f32
  llmh_tensor ids(std::vector<int64_t> sizes, int32_t limit);         // i32, constant
  llmh_tensor token_ids(std::vector<int64_t> sizes, int32_t limit);   // i32 [T, sizes...], a placeholder
  llmh_tensor weight(llmh_dtype dtype, std::vector<int64_t> sizes);
  // A node at the path of what is tested.
  template <typename Attrs>
  llmh_tensor op(llmh_op op, std::initializer_list<llmh_tensor> inputs, const Attrs& attrs) {
    return at.op(op, inputs, attrs);
  }
  llmh_tensor op(llmh_op op, std::initializer_list<llmh_tensor> inputs) { return at.op(op, inputs); }

 private:
  std::mt19937 random_;
  int n_names_ = 0;
  std::string next_name();
  std::vector<float> normal(size_t count, float scale, float shift);

 public:
  Graph graph;
  Emit at;
  Emit frame;
  Values values;
};

// Of functions that are not smooth: small enough not to reach over to the other side.
constexpr double kStepAtKinks = 0.002;

struct VjpCase {
  std::string name;
  // Returns the tensor whose elements, each with a random weight, are summed.
  std::function<llmh_tensor(CaseGraph&)> build;
  double step = 0.02;
  double tolerance = 2e-3;
  bool is_loss = false;  // what it returns is the output LOSS as it is, without weights
  uint32_t seed = 1;
};

// Every op, in every form that its rule treats in another way.
std::vector<VjpCase> vjp_cases();
// Ops with a frozen weight, for each type that a weight can be stored in.
std::vector<VjpCase> weight_type_cases();

// A case's graph with its output LOSS, and the sources' values.
struct BuiltCase {
  Graph graph;
  Values values;
  llmh_tensor result = LLMH_NO_TENSOR;
  std::vector<float> weights;  // of the result's elements
};
BuiltCase build_case(const VjpCase& vjp_case);

// Gradients by the name of the parameter.
using Gradients = std::map<std::string, std::vector<double>>;
Gradients run_training(const TrainingGraph& training, const Values& values);
// Directional derivatives of each parameter: one direction an element, or a few random ones where there are
// many elements. Values that no gradient goes through (VjpKind::kNone) are held.
struct Slope {
  std::vector<double> direction;  // empty: element `element` alone
  size_t element = 0;
  double value = 0;
};
using Slopes = std::map<std::string, std::vector<Slope>>;
Slopes finite_differences(const BuiltCase& built, double step);
// The largest difference as a part of the largest slope of the parameter; infinity when one has none.
double worst_error(const Gradients& gradients, const Slopes& slopes);

// Memory of every tensor of a graph for the step that the cases run in.
class CaseRun {
 public:
  CaseRun(const Graph& graph, const Values& values);
  // `held`: nodes that are not run again.
  void eval(const std::function<bool(const llmh_node&)>& held = {});
  std::span<float> floats(llmh_tensor tensor);

 private:
  const Graph& graph_;
  std::vector<Bytes> memory_;
  std::vector<void*> pointers_;
};

}  // namespace llmhost::graph::vjp_test
