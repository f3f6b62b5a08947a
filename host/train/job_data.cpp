#include "train/job_data.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "core/error.h"

namespace llmhost::train {
namespace {

// Steps that are gone through to learn how large micro-batches become; those of longer runs are bounded.
constexpr int64_t kMeasuredExamples = 20'000'000;

int64_t tokens_of(const std::vector<const Example*>& batch) {
  int64_t n = 0;
  for (const Example* example : batch) n += static_cast<int64_t>(example->ids.size());
  return n;
}

}  // namespace

JobData::JobData(const Job& job, const model::LoadedModel& model) {
  const int64_t vocab_size = model.info().vocab_size;
  train_ = load_dataset(job.train_data, job.model, job.dataset, vocab_size);
  if (!job.eval_data.empty())
    eval_ = load_dataset(job.eval_data, job.model, job.dataset, vocab_size);
  else if (job.eval_fraction > 0)
    eval_ = split_off(train_, job.eval_fraction, job.seed);
  if (train_.n_targets() == 0)
    throw_invalid("{}: no token of its {} rows is trained on (0 %): look at loss_on and at the template{}",
                  job.train_data.string(), train_.n_rows,
                  train_.notes.empty() ? "" : "; " + train_.notes.front());
  plan_ = std::make_unique<BatchPlan>(train_.examples, job.batches);
  n_steps_ =
      job.max_steps > 0
          ? job.max_steps
          : static_cast<int64_t>(std::ceil(job.epochs * static_cast<double>(plan_->steps_per_epoch())));
  measure_micro_batches();
  if (eval_) cut_eval();
}

// What memory is planned for: the largest micro-batch that will ever be run.
void JobData::measure_micro_batches() {
  const auto n_examples = static_cast<int64_t>(train_.examples.size());
  const int64_t per_step = n_examples / plan_->steps_per_epoch() + 1;
  if (n_steps_ > kMeasuredExamples / per_step) return measure(plan_->longest());
  for (int64_t step = 0; step < n_steps_; ++step) measure(plan_->step(step));
}

void JobData::measure(const std::vector<std::vector<uint32_t>>& micro_batches) {
  for (const std::vector<uint32_t>& batch : micro_batches) {
    const int64_t tokens = tokens_of(examples_of(batch));
    if (longest_.empty() || tokens > max_tokens_) {
      longest_ = batch;
      max_tokens_ = std::max<int64_t>(1, tokens);
    }
    max_sequences_ = std::max(max_sequences_, static_cast<int64_t>(batch.size()));
  }
}

// In their order, as many together as the largest micro-batch has tokens.
void JobData::cut_eval() {
  for (const Example& example : eval_->examples)
    max_tokens_ = std::max(max_tokens_, static_cast<int64_t>(example.ids.size()));
  for (const Example& example : eval_->examples) {
    const auto n = static_cast<int64_t>(example.ids.size());
    const bool fits = !eval_batches_.empty() && tokens_of(eval_batches_.back()) + n <= max_tokens_ &&
                      static_cast<int64_t>(eval_batches_.back().size()) < max_sequences_;
    if (!fits) eval_batches_.emplace_back();
    eval_batches_.back().push_back(&example);
  }
}

std::string JobData::hash() const {
  return eval_ && eval_->hash != train_.hash ? train_.hash + "+" + eval_->hash : train_.hash;
}

std::vector<const Example*> JobData::examples_of(const std::vector<uint32_t>& indices) const {
  std::vector<const Example*> batch;
  for (const uint32_t index : indices) batch.push_back(&train_.examples.at(index));
  return batch;
}

JobData::MicroBatches JobData::step(int64_t index) const {
  MicroBatches batches;
  for (const std::vector<uint32_t>& indices : plan_->step(index)) batches.push_back(examples_of(indices));
  return batches;
}

}  // namespace llmhost::train
