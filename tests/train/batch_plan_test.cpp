// Which examples go together, and in which order.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <numeric>
#include <set>

#include "core/error.h"
#include "train/dataset.h"
#include "train/shuffle.h"

namespace llmhost::train {
namespace {

std::vector<Example> examples_of(const std::vector<size_t>& lengths) {
  std::vector<Example> examples;
  for (const size_t n : lengths) examples.push_back({std::vector<int32_t>(n, 1), std::vector<int32_t>(n, 1)});
  return examples;
}

std::vector<Example> random_examples(size_t n, size_t longest) {
  RandomStream random(3, 0);
  std::vector<size_t> lengths;
  for (size_t i = 0; i < n; ++i) lengths.push_back(1 + random.below(longest));
  return examples_of(lengths);
}

size_t tokens_of(const std::vector<Example>& examples, const std::vector<uint32_t>& indices) {
  return std::accumulate(indices.begin(), indices.end(), size_t{0},
                         [&](size_t sum, uint32_t i) { return sum + examples[i].ids.size(); });
}

// Every example once an epoch, all micro-batches within their bounds.
void check_epoch(const BatchPlan& plan, const std::vector<Example>& examples, int64_t epoch,
                 const BatchOptions& options) {
  std::vector<uint32_t> seen;
  for (int64_t i = 0; i < plan.steps_per_epoch(); ++i) {
    size_t tokens = 0;
    for (const auto& batch : plan.step(epoch * plan.steps_per_epoch() + i)) {
      CHECK(tokens_of(examples, batch) <= static_cast<size_t>(options.micro_batch_tokens));
      CHECK(batch.size() <= static_cast<size_t>(options.micro_batch_sequences));
      tokens += tokens_of(examples, batch);
      seen.insert(seen.end(), batch.begin(), batch.end());
    }
    if (options.packing) CHECK(tokens <= static_cast<size_t>(options.batch_tokens));
  }
  std::sort(seen.begin(), seen.end());
  std::vector<uint32_t> all(examples.size());
  std::iota(all.begin(), all.end(), 0U);
  CHECK(seen == all);
}

TEST_CASE("numbers of a stream are those of SplitMix64 and stay as they are") {
  RandomStream random(1, 2);
  const std::vector<uint64_t> first = {random.below(1000), random.below(1000), random.below(1000)};
  RandomStream again(1, 2);
  for (const uint64_t number : first) CHECK(again.below(1000) == number);
  CHECK(shuffled(10, 42, 0) == shuffled(10, 42, 0));
  CHECK(shuffled(10, 42, 0) != shuffled(10, 42, 1));
  CHECK(shuffled(10, 42, 0) != shuffled(10, 43, 0));
  // 24 orders of 4: each is met about as often as the others (24000 draws, deviation of a count 31).
  std::map<std::vector<uint32_t>, int> counts;
  for (uint64_t stream = 0; stream < 24000; ++stream) ++counts[shuffled(4, 7, stream)];
  CHECK(counts.size() == 24);
  for (const auto& [order, count] : counts) CHECK(std::abs(count - 1000) < 5 * 31);
}

TEST_CASE("without packing: every example once an epoch, in another order each time, the same for a seed") {
  const auto examples = random_examples(103, 60);
  BatchOptions options;
  options.batch_size = 8;
  options.micro_batch_tokens = 100;
  options.micro_batch_sequences = 3;
  options.seed = 5;
  const BatchPlan plan(examples, options), twin(examples, options);
  CHECK(plan.steps_per_epoch() == 13);
  for (int64_t epoch = 0; epoch < 3; ++epoch) check_epoch(plan, examples, epoch, options);
  CHECK(plan.step(0) != plan.step(13));
  for (const int64_t step : {30, 2, 17, 0}) CHECK(plan.step(step) == twin.step(step));  // in any order
  options.shuffle = false;
  const auto first = BatchPlan(examples, options).step(0);
  std::set<uint32_t> indices;
  for (const auto& batch : first) indices.insert(batch.begin(), batch.end());
  CHECK(indices == std::set<uint32_t>{0, 1, 2, 3, 4, 5, 6, 7});
}

TEST_CASE("packing fills the steps, in every epoch with the same groups") {
  const auto examples = random_examples(2000, 64);
  BatchOptions options;
  options.packing = true;
  options.batch_tokens = 512;
  options.micro_batch_tokens = 128;
  const BatchPlan plan(examples, options);
  for (int64_t epoch = 0; epoch < 2; ++epoch) check_epoch(plan, examples, epoch, options);
  size_t tokens = 0;
  for (const Example& example : examples) tokens += example.ids.size();
  // Best fit of short examples leaves next to nothing free.
  CHECK(plan.steps_per_epoch() <= static_cast<int64_t>(tokens / 512 + 2));
  CHECK(plan.step(0) != plan.step(plan.steps_per_epoch()));
}

TEST_CASE("the longest step is at least as long as all others") {
  const auto examples = random_examples(100, 50);
  for (const bool packing : {false, true}) {
    BatchOptions options;
    options.batch_size = 4;
    options.packing = packing;
    options.batch_tokens = 200;
    options.micro_batch_tokens = 100;
    const BatchPlan plan(examples, options);
    const auto total = [&](const std::vector<std::vector<uint32_t>>& step) {
      size_t tokens = 0;
      for (const auto& batch : step) tokens += tokens_of(examples, batch);
      return tokens;
    };
    const auto longest = plan.longest();
    for (int64_t i = 0; i < plan.steps_per_epoch(); ++i) CHECK(total(plan.step(i)) <= total(longest));
    for (size_t i = 1; i < longest.size(); ++i)
      CHECK(tokens_of(examples, longest[i]) <= tokens_of(examples, longest[0]));
  }
}

TEST_CASE("what does not fit is refused") {
  BatchOptions options;
  CHECK_THROWS_WITH_AS(BatchPlan({}, options), doctest::Contains("nothing to train on"), Error);
  const auto examples = examples_of({10, 300});
  options.micro_batch_tokens = 299;
  CHECK_THROWS_WITH_AS(BatchPlan(examples, options),
                       doctest::Contains("300 tokens, but a micro-batch takes 299"), Error);
  options.micro_batch_tokens = 300;
  options.packing = true;
  options.batch_tokens = 200;
  CHECK_THROWS_WITH_AS(BatchPlan(examples, options), doctest::Contains("a packed step takes 200"), Error);
}

}  // namespace
}  // namespace llmhost::train
