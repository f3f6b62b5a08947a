#include <algorithm>
#include <map>
#include <numeric>

#include "core/error.h"
#include "train/dataset.h"
#include "train/shuffle.h"

namespace llmhost::train {
namespace {

// Examples that are packed together are looked for among so many neighbours of the shuffled order: enough to
// fill the groups, few enough that a group is no choice by length over the whole set.
constexpr size_t kPackingWindow = 4096;
// Streams of the seed: 0 … for epochs, this one for packing.
constexpr uint64_t kPackingStream = ~uint64_t{0};

using Groups = std::vector<std::vector<uint32_t>>;

int64_t length(const Example& example) {
  return static_cast<int64_t>(example.ids.size());
}

struct Capacity {
  int64_t tokens;
  size_t examples;
};

// Best fit, longest first: each example goes where the least room is left over. Appends to `groups`.
void best_fit(const std::vector<Example>& examples, std::vector<uint32_t> indices, Capacity capacity,
              Groups& groups) {
  std::stable_sort(indices.begin(), indices.end(),
                   [&](uint32_t a, uint32_t b) { return length(examples[a]) > length(examples[b]); });
  std::multimap<int64_t, size_t> room;  // tokens that still fit, and into which group
  for (const uint32_t index : indices) {
    const int64_t size = length(examples[index]);
    const auto found = room.lower_bound(size);
    size_t group = groups.size();
    int64_t left = capacity.tokens - size;
    if (found != room.end()) {
      group = found->second;
      left = found->first - size;
      room.erase(found);
    } else {
      groups.emplace_back();
    }
    groups[group].push_back(index);
    if (left > 0 && groups[group].size() < capacity.examples) room.emplace(left, group);
  }
}

int64_t tokens_of(const std::vector<Example>& examples, const std::vector<uint32_t>& indices) {
  return std::accumulate(indices.begin(), indices.end(), int64_t{0},
                         [&](int64_t sum, uint32_t i) { return sum + length(examples[i]); });
}

}  // namespace

struct BatchPlan::Epoch {
  int64_t number = -1;
  std::vector<uint32_t> order;  // of examples, or of groups
};

BatchPlan::BatchPlan(const std::vector<Example>& examples, const BatchOptions& options)
    : examples_(examples), options_(options), epoch_(std::make_unique<Epoch>()) {
  if (examples.empty()) throw_invalid("there is nothing to train on: no example is left");
  if (examples.size() > UINT32_MAX) throw_invalid("{} examples are too many", examples.size());
  if (!options_.packing && options_.batch_size < 1)
    throw_invalid("a batch of {} examples", options_.batch_size);
  int64_t longest = 0;
  for (const Example& example : examples) longest = std::max(longest, length(example));
  if (longest > options_.micro_batch_tokens)
    throw_invalid(
        "an example has {} tokens, but a micro-batch takes {}: raise micro_batch_tokens or lower max_length",
        longest, options_.micro_batch_tokens);
  if (!options_.packing) return;
  if (options_.batch_tokens <= 0) options_.batch_tokens = options_.micro_batch_tokens;
  if (longest > options_.batch_tokens)
    throw_invalid(
        "an example has {} tokens, but a packed step takes {}: raise batch_tokens or lower max_length",
        longest, options_.batch_tokens);
  pack();
}

BatchPlan::~BatchPlan() = default;

void BatchPlan::pack() {
  std::vector<uint32_t> order(examples_.size());
  std::iota(order.begin(), order.end(), 0U);
  if (options_.shuffle) order = shuffled(examples_.size(), options_.seed, kPackingStream);
  for (size_t begin = 0; begin < order.size(); begin += kPackingWindow) {
    const size_t end = std::min(begin + kPackingWindow, order.size());
    best_fit(examples_,
             {order.begin() + static_cast<std::ptrdiff_t>(begin),
              order.begin() + static_cast<std::ptrdiff_t>(end)},
             {options_.batch_tokens, SIZE_MAX}, groups_);
  }
}

int64_t BatchPlan::steps_per_epoch() const {
  if (options_.packing) return static_cast<int64_t>(groups_.size());
  const auto n = static_cast<int64_t>(examples_.size());
  return n / options_.batch_size + (n % options_.batch_size != 0 ? 1 : 0);
}

Groups BatchPlan::in_micro_batches(std::vector<uint32_t> indices) const {
  Groups batches;
  best_fit(examples_, std::move(indices),
           {options_.micro_batch_tokens, static_cast<size_t>(options_.micro_batch_sequences)}, batches);
  return batches;
}

std::vector<std::vector<uint32_t>> BatchPlan::step(int64_t index) const {
  if (index < 0) throw_error(ErrorCode::kInternal, "step {} of a batch plan", index);
  const int64_t number = index / steps_per_epoch();
  const auto place = static_cast<size_t>(index % steps_per_epoch());
  if (epoch_->number != number) {
    const size_t n = options_.packing ? groups_.size() : examples_.size();
    epoch_->order.resize(n);
    std::iota(epoch_->order.begin(), epoch_->order.end(), 0U);
    if (options_.shuffle) epoch_->order = shuffled(n, options_.seed, static_cast<uint64_t>(number));
    epoch_->number = number;
  }
  if (options_.packing) return in_micro_batches(groups_[epoch_->order[place]]);
  const auto size = static_cast<size_t>(options_.batch_size);
  const size_t begin = place * size;
  const size_t end = std::min(begin + size, examples_.size());
  const auto first = epoch_->order.begin();
  return in_micro_batches(
      {first + static_cast<std::ptrdiff_t>(begin), first + static_cast<std::ptrdiff_t>(end)});
}

std::vector<std::vector<uint32_t>> BatchPlan::longest() const {
  std::vector<uint32_t> chosen;
  if (options_.packing) {
    chosen = *std::max_element(groups_.begin(), groups_.end(), [&](const auto& a, const auto& b) {
      return tokens_of(examples_, a) < tokens_of(examples_, b);
    });
  } else {
    chosen.resize(examples_.size());
    std::iota(chosen.begin(), chosen.end(), 0U);
    const size_t n = std::min(chosen.size(), static_cast<size_t>(options_.batch_size));
    std::stable_sort(chosen.begin(), chosen.end(),
                     [&](uint32_t a, uint32_t b) { return length(examples_[a]) > length(examples_[b]); });
    chosen.resize(n);
  }
  Groups batches = in_micro_batches(std::move(chosen));
  std::stable_sort(batches.begin(), batches.end(), [&](const auto& a, const auto& b) {
    return tokens_of(examples_, a) > tokens_of(examples_, b);
  });
  return batches;
}

}  // namespace llmhost::train
