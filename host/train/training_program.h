// A compiled graph of training. Private to the layer.
#pragma once

#include <span>
#include <vector>

#include "engine/device.h"
#include "plugin/status.h"
#include "train/training_graph.h"

namespace llmhost::train {

// Graph, memory and device must outlive it. One thread at a time.
class TrainingProgram {
 public:
  struct Memory {
    std::vector<llmh_weight*> weights;   // [n_tensors]
    std::vector<llmh_range> parameters;  // [n_tensors]
    const engine::DeviceBuffer& arena;
    const engine::DeviceBuffer& scratch;
  };
  TrainingProgram(const engine::Device& device, const LoweredGraph& lowered, Memory memory);
  ~TrainingProgram();
  TrainingProgram(const TrainingProgram&) = delete;
  TrainingProgram& operator=(const TrainingProgram&) = delete;

  void run(const llmh_step& step);
  // An output of the last step, f32 [R] or [R, N]; empty when the graph has none of this kind.
  std::span<const float> output(int32_t kind) const;

 private:
  const engine::Device& device_;
  const LoweredGraph& lowered_;
  Memory memory_;
  llmh_program* program_ = nullptr;
  plugin::Call call_;
  int32_t n_outputs_ = 0;  // of the last step
};

}  // namespace llmhost::train
