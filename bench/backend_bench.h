// Runs a graph on the built CPU plugin and times it: the least that the benchmarks of this folder need.
// Weights are random blocks in memory; figures are printed as one JSON object a line.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/thread_pool.h"
#include "graph/graph.h"
#include "llmhost/backend.h"

namespace llmhost::bench {

// What the command line says: --isa NAME --threads N --seconds S --clock wall|cpu --precision f32|native. CPU
// time is for one thread on a machine that others use.
struct Options {
  std::string isa = "auto";
  int32_t threads = 2;
  double seconds = 0.5;  // least time of one measurement
  uint32_t precision = LLMH_PRECISION_F32;
};
Options parse_options(int argc, char** argv);

struct StateShape {
  int32_t slots = 0;  // numbered from 0
  int32_t n_kv_heads = 0;
  int32_t head_dim = 0;
};

constexpr int32_t kPageTokens = 32;

class Model {
 public:
  // Weights of the graph are filled with random blocks of their type.
  Model(const Options& options, const graph::Graph& graph, const llmh_limits& limits,
        const StateShape& state = {});
  ~Model();
  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;

  void run(int32_t begin, int32_t n_tokens);  // tokens [begin, begin + n_tokens) of one sequence
  void run(const llmh_step& step);
  const llmh_backend& backend() const { return *backend_; }
  llmh_instance* instance() const { return instance_; }
  uint64_t weight_bytes() const { return weight_bytes_; }

 private:
  void load_weights(const graph::Graph& graph);
  void compile(const graph::Graph& graph, const llmh_limits& limits, const StateShape& state);

  const llmh_backend* backend_ = nullptr;
  llmh_instance* instance_ = nullptr;
  ThreadPool pool_;
  std::vector<std::unique_ptr<std::byte[]>> memory_;
  std::vector<llmh_weight*> weights_;
  std::vector<llmh_buffer*> buffers_;
  llmh_program* program_ = nullptr;
  uint64_t weight_bytes_ = 0;
};

double now_seconds();  // by the clock of the last parse_options

// Least seconds of one call of fn over at least `seconds` of trying.
template <typename Fn>
double best_time(double seconds, Fn&& fn) {
  double best = 1e30;
  for (const double start = now_seconds(); now_seconds() - start < seconds;) {
    const double before = now_seconds();
    fn();
    const double taken = now_seconds() - before;
    if (taken < best) best = taken;
  }
  return best;
}

}  // namespace llmhost::bench
