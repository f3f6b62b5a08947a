// Leaves requests their share of the machine while a job trains.
#pragma once

#include <atomic>
#include <chrono>

#include "serve/models/served_model.h"

namespace llmhost::serve {

class Pace {
 public:
  // Requests of `model` are waited for; `stop` ends a pause. Both must outlive it.
  Pace(const ServedModel& model, double share, const std::atomic<bool>& stop)
      : model_(model), share_(share), stop_(stop) {}

  // After each piece of work: a pause in proportion to it, while requests run.
  void pause();

 private:
  const ServedModel& model_;
  double share_;  // of the time that is the job's
  const std::atomic<bool>& stop_;
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

}  // namespace llmhost::serve
