// The factor on the base learning rate, by step: the schedules of transformers' get_scheduler, whose values
// are met to the last bit.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "train/job.h"

namespace llmhost::train {

class Schedule {
 public:
  // `n_steps` in all; `base_rate` is what lr_end is measured against. Throws kInvalidArgument for an unknown
  // name, more warm-up than steps and values out of their range.
  Schedule(const ScheduleOptions& options, int64_t n_steps, double base_rate);

  double factor(int64_t step) const;  // from 0: before the update of that step
  int64_t warmup_steps() const { return warmup_; }

 private:
  double decayed(double s) const;

  ScheduleOptions options_;
  double cycles_ = 0;
  int64_t warmup_ = 0;
  int64_t n_steps_ = 0;
  double base_rate_ = 1;
};

const std::vector<std::string>& schedule_names();

}  // namespace llmhost::train
