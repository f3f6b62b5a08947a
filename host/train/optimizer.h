// Optimisers: AdamW (Loshchilov, Hutter 2019), SGD with momentum, and Adafactor (Shazeer, Stern 2018) without
// its relative rates, which keeps a row and a column for a matrix. What they compute does not depend on the
// number of threads.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "llmhost/plugin.h"
#include "train/job.h"
#include "train/training_stack.h"

namespace llmhost::train {

class Optimizer {
 public:
  // The tensors' memory and `pool` (may be null) must outlive it.
  static std::unique_ptr<Optimizer> make(const OptimizerOptions& options,
                                         std::span<const TrainedValue> trained, const llmh_thread_pool* pool);
  // What it will remember of tensors of these shapes.
  static uint64_t bytes(const OptimizerOptions& options, std::span<const std::vector<int64_t>> shapes);

  virtual ~Optimizer() = default;
  Optimizer(const Optimizer&) = delete;
  Optimizer& operator=(const Optimizer&) = delete;

  // One step with the rate `lr` and the gradients times `gradient_scale`.
  void update(double lr, double gradient_scale);
  int64_t updates() const { return updates_; }
  void set_updates(int64_t n) { updates_ = n; }

  // Of tensor `index`; empty where it keeps none of the tensor's shape.
  virtual std::span<float> first_moment(size_t index) = 0;
  virtual std::span<float> second_moment(size_t index) = 0;

  // Everything that it remembers besides updates(), for checkpoints.
  struct State {
    std::string name;  // "<tensor>.<what>"
    std::span<float> values;
  };
  virtual std::vector<State> state() = 0;

 protected:
  Optimizer(std::span<const TrainedValue> trained, const llmh_thread_pool* pool)
      : trained_(trained.begin(), trained.end()), pool_(pool) {}

  virtual void apply(double lr, float gradient_scale) = 0;

  std::vector<TrainedValue> trained_;
  const llmh_thread_pool* pool_;
  int64_t updates_ = 0;
};

}  // namespace llmhost::train
