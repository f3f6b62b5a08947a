// The data of a job: loaded, split, and cut into micro-batches. Private to the layer.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "model/loader.h"
#include "train/dataset.h"
#include "train/job.h"

namespace llmhost::train {

class JobData {
 public:
  JobData(const Job& job, const model::LoadedModel& model);
  JobData(const JobData&) = delete;
  JobData& operator=(const JobData&) = delete;

  const Dataset& train() const { return train_; }
  const Dataset* eval() const { return eval_ ? &*eval_ : nullptr; }
  std::string hash() const;  // of both

  int64_t n_steps() const { return n_steps_; }
  int64_t steps_per_epoch() const { return plan_->steps_per_epoch(); }
  int64_t max_tokens() const { return max_tokens_; }        // of a micro-batch
  int64_t max_sequences() const { return max_sequences_; }  // of a micro-batch

  using MicroBatches = std::vector<std::vector<const Example*>>;
  MicroBatches step(int64_t index) const;  // from 0
  // A micro-batch that none has more tokens than.
  std::vector<const Example*> longest() const { return examples_of(longest_); }
  const MicroBatches& eval_batches() const { return eval_batches_; }

 private:
  void measure_micro_batches();
  void measure(const std::vector<std::vector<uint32_t>>& micro_batches);
  void cut_eval();
  std::vector<const Example*> examples_of(const std::vector<uint32_t>& indices) const;

  Dataset train_;
  std::optional<Dataset> eval_;
  std::unique_ptr<BatchPlan> plan_;
  MicroBatches eval_batches_;
  std::vector<uint32_t> longest_;
  int64_t n_steps_ = 0;
  int64_t max_tokens_ = 1;
  int64_t max_sequences_ = 1;
};

}  // namespace llmhost::train
