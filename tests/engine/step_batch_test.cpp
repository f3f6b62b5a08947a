// Rows of a step by adapter: one segment each, ascending, nothing allocated once the batch is made.
#include "engine/step_batch.h"

#include <doctest/doctest.h>

#include "core/error.h"
#include "engine/count_allocations.h"

using namespace llmhost::engine;

namespace {

llmh_limits limits_with(int32_t rank) {
  llmh_limits limits{};
  limits.struct_size = sizeof limits;
  limits.max_tokens = 16;
  limits.max_sequences = limits.max_outputs = 8;
  limits.max_state = 100;
  limits.max_adapter_rank = rank;
  return limits;
}

// Stand for adapters: only their addresses matter here.
const llmh_adapter* adapter(int which) {
  static int places[4];
  return reinterpret_cast<const llmh_adapter*>(&places[which]);
}

void add(StepBatch& batch, int tokens, const llmh_adapter* of) {
  batch.begin_sequence(0, {}, of);
  for (int i = 0; i < tokens; ++i) batch.add_token(1, tokens, i + 1 == tokens);
}

std::vector<int32_t> tokens_of(const llmh_adapter_segment& segment) {
  return {segment.token_rows, segment.token_rows + segment.n_token_rows};
}
std::vector<int32_t> outputs_of(const llmh_adapter_segment& segment) {
  return {segment.output_rows, segment.output_rows + segment.n_output_rows};
}

}  // namespace

TEST_CASE("sequences of an adapter share its segment, those of the base have none") {
  StepBatch batch(limits_with(8), 4);
  for (int round = 0; round < 3; ++round) {
    const int64_t before = llmhost::test::allocations_so_far();
    batch.clear();
    add(batch, 2, adapter(0));
    add(batch, 1, nullptr);
    add(batch, 3, adapter(1));
    add(batch, 1, adapter(0));
    const llmh_step step = batch.step();
    CHECK(llmhost::test::allocations_so_far() == before);
    REQUIRE(step.n_adapter_segments == 2);
    CHECK(step.adapter_segments[0].adapter == adapter(0));
    CHECK(tokens_of(step.adapter_segments[0]) == std::vector<int32_t>{0, 1, 6});
    CHECK(outputs_of(step.adapter_segments[0]) == std::vector<int32_t>{0, 3});
    CHECK(step.adapter_segments[1].adapter == adapter(1));
    CHECK(tokens_of(step.adapter_segments[1]) == std::vector<int32_t>{3, 4, 5});
    CHECK(outputs_of(step.adapter_segments[1]) == std::vector<int32_t>{2});
  }
  batch.clear();
  add(batch, 2, nullptr);
  CHECK(batch.step().n_adapter_segments == 0);
}

TEST_CASE("a batch that was made without adapters takes none") {
  StepBatch batch(limits_with(0), 4);
  add(batch, 1, nullptr);
  CHECK_THROWS_WITH_AS(add(batch, 1, adapter(0)), doctest::Contains("max_adapter_rank is 0"), llmhost::Error);
}
