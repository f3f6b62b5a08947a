// What a training run tells while it goes: the trainer calls, and log file, progress line, TensorBoard file,
// plot and server listen.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace llmhost::train {

struct StepEvent {
  int64_t step = 0;  // from 1
  int64_t n_steps = 0;
  double epoch = 0;
  double loss = 0;       // mean over the step's targets
  double grad_norm = 0;  // before clipping
  double lr = 0;         // of this step
  int64_t n_tokens = 0;  // run in this step
  int64_t n_targets = 0;
  double seconds = 0;
  double tokens_per_s = 0;  // smoothed
  double eta_s = 0;
  uint64_t memory_bytes = 0;  // resident
};

struct EvalEvent {
  int64_t step = 0;
  double loss = 0;
  bool is_best = false;
};

class TrainingListener {
 public:
  virtual ~TrainingListener() = default;
  // Once, before the first step that is run: so many are done already (0: a new run).
  virtual void on_start(int64_t /*done_steps*/, int64_t /*n_steps*/) {}
  virtual void on_step(const StepEvent&) {}
  virtual void on_eval(const EvalEvent&) {}
  virtual void on_checkpoint(int64_t /*step*/, std::string_view /*folder*/) {}
  // The adapter as of this step, whole, in `folder` (below the job's output): job.publish_every. The listener
  // copies what it wants to keep; the next one replaces it.
  virtual void on_publish(int64_t /*step*/, std::string_view /*folder*/) {}
  virtual void on_message(std::string_view /*line*/) {}  // warnings, stages
};

}  // namespace llmhost::train
