// Gradients against central differences. The differences are taken of the graph in double (double_eval.h), so
// that they are good to about 1e-8; what is compared is what the reference evaluator makes of the training
// graph in f32, which is good to some 1e-6 of the largest element.
//
//   Values values = {...};                                      by tensor name: parameters, weights,
//   placeholders const GradientError error = worst_gradient_error(with_loss, differentiate(with_loss, {}),
//   step, values); CHECK_MESSAGE(error.worst < 1e-5, error.where);
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include "graph/autodiff/autodiff.h"
#include "graph_run.h"

namespace llmhost::graph::test {

// What a graph is given besides the step.
struct Values {
  std::map<std::string, std::vector<float>> floats;     // f32 tensors
  std::map<std::string, std::vector<std::byte>> bytes;  // weights of other types, as stored
};

struct Differences {
  double step = 1e-5;
  size_t most = 48;  // elements of a tensor that are looked at, spread over it
};

// The derivative of the sum of an output by some elements of a tensor.
struct Derivative {
  size_t element;
  double value;
};
std::vector<Derivative> central_differences(const Graph& graph, const StepData& step, const Values& values,
                                            const std::string& tensor, int32_t output = LLMH_OUTPUT_LOSS,
                                            const Differences& how = {});

struct GradientError {
  double worst = 0;   // relative to the largest derivative of the tensor that was looked at, or to 1e-3
  std::string where;  // tensor, element, both numbers
};

// Every trained tensor of `trained`, whose forward part is `forward`: the gradients that one run of it adds
// up (from zeros) against differences of the sum of LOSS.
GradientError worst_gradient_error(const Graph& forward, const TrainingGraph& trained, const StepData& step,
                                   const Values& values, const Differences& how = {});

// The sums of gradients after one run on the reference evaluator, by tensor name.
std::map<std::string, std::vector<float>> gradients_of(const TrainingGraph& trained, const StepData& step,
                                                       const Values& values);

// A loss [R] that depends on every element of y with a weight of its own, which is made an output of the
// graph: y is f32 with a first dimension of T or R (reached through the output rows) or of constant size
// only.
llmh_tensor add_random_loss(Graph& graph, llmh_tensor y, uint32_t seed = 1);

// [T,width] of which every element is trained: the rows of the parameter `name` [7,width] by token id.
llmh_tensor trained_rows(Graph& graph, const std::string& name, int64_t width);
// A parameter, by default with values around 0 of that size in `values`.
llmh_tensor trained(Graph& graph, const std::string& name, std::initializer_list<int64_t> shape);

// Random values for every parameter and weight of the graph (of any type) that `values` does not have yet.
// The same seed gives the same.
void fill_values(const Graph& graph, Values& values, uint32_t seed = 1, float scale = 0.7F);

}  // namespace llmhost::graph::test
