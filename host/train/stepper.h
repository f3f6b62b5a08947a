// Steps of the optimiser over micro-batches: losses weighed by token, clipping, the rate's schedule, a
// method's own steps. What the trainer loops over.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "train/method.h"
#include "train/optimizer.h"
#include "train/schedule.h"
#include "train/training_stack.h"

namespace llmhost::train {

struct StepResult {
  double loss = 0;  // mean over the step's targets
  double grad_norm = 0;
  double lr = 0;
  int64_t n_targets = 0;
  int64_t n_tokens = 0;
};

// Stack, method and pool must outlive it. [control]
class Stepper {
 public:
  struct Options {
    OptimizerOptions optimizer;
    ScheduleOptions schedule;
    int64_t n_steps = 1;
    uint64_t seed = 0;                            // of dropout
    std::function<void()> between_micro_batches;  // may be empty
  };
  Stepper(TrainingStack& stack, Method& method, Options options, const llmh_thread_pool* pool);

  // Before the first step of a job that is not resumed.
  void start();
  // Step `index`, from 1. One without targets changes nothing. Throws NonFiniteError for a loss or gradient.
  StepResult step(int64_t index, std::span<const std::vector<const Example*>> micro_batches);

  Optimizer& optimizer() { return *optimizer_; }
  // What the method remembers between steps.
  std::vector<std::byte> method_state() const;
  void load_method_state(std::span<const std::byte> state);

 private:
  void scale_gradients(double factor);
  double gradient_norm() const;
  void check_gradients(double norm) const;
  bool before_update(int64_t index);
  void after_update(int64_t index);
  std::vector<const llmh_tuned_tensor*> tuned_tensors(bool with_gradients);
  llmh_step_info step_info(int64_t index) const;

  TrainingStack& stack_;
  Method& method_;
  Options options_;
  const llmh_thread_pool* pool_;
  std::unique_ptr<Optimizer> optimizer_;
  Schedule schedule_;
  std::vector<llmh_tuned_tensor> tensors_;
};

}  // namespace llmhost::train
