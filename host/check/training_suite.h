// Small graphs of one op of training each, on a backend and on the reference evaluator: what the op gives,
// and what it adds to parameters.
#pragma once

#include <map>
#include <span>
#include <string>
#include <vector>

#include "graph/graph.h"
#include "llmhost/backend.h"

namespace llmhost::check {

// A graph under construction and the values of its parameters.
class TrainingInputs {
 public:
  graph::Graph graph;
  std::map<std::string, std::vector<float>> parameters;

  llmh_tensor rows(int64_t width);     // f32 [T,width]
  llmh_tensor outputs(int64_t width);  // f32 [R,width]
  llmh_tensor constant(const std::vector<int64_t>& shape);
  llmh_tensor parameter(const std::vector<int64_t>& shape);
  llmh_tensor chosen(int64_t of, int32_t k);  // i32 [T,k] below `of`, of a row none twice
  std::vector<llmh_tensor> node(llmh_op op, const std::vector<llmh_tensor>& inputs);
  template <typename Attrs>
  std::vector<llmh_tensor> node(llmh_op op, const std::vector<llmh_tensor>& inputs, const Attrs& attrs) {
    return graph.add_node(op, {}, inputs, &attrs, sizeof attrs);
  }

 private:
  std::vector<float> values(const std::vector<int64_t>& shape);

  uint32_t seed_ = 0;
};

struct TrainingCase {
  const char* name;
  llmh_op op;
  // Adds the op last and gives its results.
  std::vector<llmh_tensor> (*build)(TrainingInputs& inputs);
};

std::span<const TrainingCase> all_training_cases();  // training_cases.cpp

// The largest difference as a note; throws Error when it is too large, Skipped when the backend does not
// claim the op.
std::string run_training_case(const TrainingCase& op, const llmh_backend& backend,
                              const std::string& backend_id);

}  // namespace llmhost::check
