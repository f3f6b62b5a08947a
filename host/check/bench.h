// A graph of a model on a device, run step by step by hand: which tokens stand in which step is the caller's
// choice. Exact state (f32).
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "engine/model_stack.h"
#include "graph/graph.h"
#include "model/loader.h"

namespace llmhost::check {

using Ids = std::vector<int32_t>;

struct BenchLimits {
  int32_t max_tokens = 512;  // of a step
  int32_t max_sequences = 8;
  int64_t max_context = 320;
};

// As the device runs it: fusions made, unsupported ops decomposed. Throws when an op stays that it does not
// run.
graph::Graph lowered(const graph::Graph& graph, const engine::Device& device);

class Bench {
 public:
  // The first output is what run() gives: logits, or any activation by row. The arguments outlive the bench,
  // the graph not.
  Bench(const model::LoadedModel& model, const graph::Graph& graph, const engine::Device& device,
        const BenchLimits& limits);
  Bench(const Bench&) = delete;
  Bench& operator=(const Bench&) = delete;

  // Rows of the output for all tokens of each prompt. The prompts run side by side, `chunk` tokens of each in
  // a step (0: all).
  std::vector<std::vector<float>> run(std::span<const Ids> prompts, int32_t chunk = 0);
  std::vector<float> run_one(const Ids& prompt, int32_t chunk = 0);
  // The tokens with the highest logits, one after another.
  Ids greedy(const Ids& prompt, size_t n);
  int64_t width() const { return runner_->vocab_size(); }

 private:
  void begin(size_t sequence, int64_t position);

  engine::RunnerOptions options_;
  graph::Graph graph_;
  engine::DeviceWeights weights_;
  std::unique_ptr<engine::ModelRunner> runner_;
  engine::StepBatch batch_;
};

// The model's graph with other outputs or nodes.
//
// `activation` [T, D] in place of the logits.
graph::Graph with_output(const graph::Graph& graph, llmh_tensor activation);
// Every linear plus a low-rank product whose second matrix is zero; the number of linears in *n.
graph::Graph with_zero_adapters(const graph::Graph& graph, int64_t* n);
// Activations named "<...>.<L>.output" by L.
std::map<int64_t, llmh_tensor> layer_outputs(const graph::Graph& graph);

}  // namespace llmhost::check
