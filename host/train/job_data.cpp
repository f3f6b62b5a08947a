#include "train/job_data.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "core/error.h"

namespace llmhost::train {
namespace {

// The finaliser of SplitMix64 (Steele et al. 2014).
uint64_t mix(uint64_t z) {
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
  return z ^ (z >> 31);
}

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
    split(job.eval_fraction, job.seed);
  if (train_.n_targets() == 0)
    throw_invalid("{}: no token of its {} examples is trained on: look at loss_on and at the template",
                  job.train_data.string(), train_.examples.size());
  plan_ = std::make_unique<BatchPlan>(train_.examples, job.batches);
  bound_micro_batches(job.batches);
}

// Which examples are held out is decided by seed and place alone.
void JobData::split(double fraction, uint64_t seed) {
  const size_t n = train_.examples.size();
  const auto n_eval = static_cast<size_t>(std::ceil(fraction * static_cast<double>(n)));
  if (n_eval == 0) return;
  if (n_eval >= n) throw_invalid("eval_fraction {} of {} examples leaves none to train on", fraction, n);
  std::vector<size_t> order(n);
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::sort(order, {}, [&](size_t i) { return std::pair(mix(mix(seed) ^ (i + 1)), i); });
  std::vector<bool> is_eval(n, false);
  for (size_t i = 0; i < n_eval; ++i) is_eval[order[i]] = true;
  Dataset rest;
  Dataset held;
  rest.hash = held.hash = train_.hash;
  rest.n_skipped = train_.n_skipped;
  rest.n_truncated = train_.n_truncated;
  for (size_t i = 0; i < n; ++i) (is_eval[i] ? held : rest).examples.push_back(std::move(train_.examples[i]));
  train_ = std::move(rest);
  eval_ = std::move(held);
}

void JobData::bound_micro_batches(const BatchOptions& options) {
  int64_t longest = 1;
  int64_t total = 0;
  int64_t n_examples = 1;
  const auto look_at = [&](const Dataset& set) {
    int64_t tokens = 0;
    for (const Example& example : set.examples) {
      longest = std::max(longest, static_cast<int64_t>(example.ids.size()));
      tokens += static_cast<int64_t>(example.ids.size());
    }
    total = std::max(total, tokens);
    n_examples = std::max(n_examples, static_cast<int64_t>(set.examples.size()));
  };
  look_at(train_);
  if (eval_) look_at(*eval_);
  max_sequences_ = options.packing ? n_examples : std::min(n_examples, options.batch_size);
  const int64_t together = std::min({total, options.micro_batch_tokens, longest * max_sequences_});
  max_tokens_ = std::max(longest, together);
  max_sequences_ = std::clamp<int64_t>(max_sequences_, 1, max_tokens_);
  if (!eval_) return;
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

std::vector<const Example*> JobData::longest() const {
  std::vector<const Example*> longest;
  for (const std::vector<uint32_t>& indices : plan_->longest()) {
    std::vector<const Example*> batch = examples_of(indices);
    if (longest.empty() || tokens_of(batch) > tokens_of(longest)) longest = std::move(batch);
  }
  return longest;
}

}  // namespace llmhost::train
