// No memory is allocated by a decode step once it is warm: operator new counts in this binary.
#include <doctest/doctest.h>

#include <memory>

#include "engine/count_allocations.h"
#include "engine/draft_model.h"
#include "engine/engine.h"
#include "engine/fake_backend.h"
#include "engine/lookup.h"

using namespace llmhost::engine;

namespace {

RunnerOptions options_for(int32_t rows) {
  RunnerOptions options;
  options.max_tokens = 64;
  options.max_sequences = 8;
  options.max_outputs = 8 * rows;
  options.max_context = 300;
  options.page_tokens = 4;
  return options;
}

void submit_eight(Engine& engine, int64_t& events) {
  for (int32_t i = 0; i < 8; ++i) {
    Request request;
    request.prompt = {i, 1, 2, 3};
    request.max_tokens = 250;
    request.sampling.seed = 1;
    request.sampling.top_k = i % 2 == 0 ? 0 : 20;
    request.sampling.top_p = 0.9F;
    request.sampling.frequency_penalty = 0.1F;
    request.sampling.logit_bias = {{3, 1.0F}};
    request.sampling.logprobs = true;
    request.sampling.top_logprobs = 5;
    request.on_token = [&events](const TokenEvent&) {
      ++events;
      return true;
    };
    engine.submit(std::move(request));
  }
}

// Allocations of `steps` steps, once the engine is warm.
int64_t allocations_of(Engine& engine, int steps) {
  for (int step = 0; step < 20; ++step) engine.run_step();
  const int64_t before = llmhost::test::allocations_so_far();
  for (int step = 0; step < steps; ++step) engine.run_step();
  return llmhost::test::allocations_so_far() - before;
}

}  // namespace

TEST_CASE("a decode step allocates nothing, with every sampling feature on" *
          doctest::skip(llmhost::test::kThreadTagsChecked)) {
  llmhost::test::FakeModel model(options_for(1));
  Engine engine(model.runner());
  int64_t events = 0;
  submit_eight(engine, events);
  CHECK(allocations_of(engine, 200) == 0);
  CHECK(events == 8 * 220);
}

TEST_CASE("filling pages that the prefix cache takes up allocates nothing" *
          doctest::skip(llmhost::test::kThreadTagsChecked)) {
  llmhost::test::FakeModel model(options_for(1));
  EngineOptions options;
  options.prefix_cache.pages = PrefixCacheOptions::kAllPages;
  Engine engine(model.runner(), options);
  int64_t events = 0;
  submit_eight(engine, events);
  CHECK(allocations_of(engine, 200) == 0);
  CHECK(engine.cached_pages() > 8 * 50);
}

TEST_CASE("guessing tokens and verifying them allocates nothing" *
          doctest::skip(llmhost::test::kThreadTagsChecked)) {
  for (const bool drafts : {false, true}) {
    llmhost::test::FakeModel model(options_for(5));
    llmhost::test::FakeModel draft(options_for(1));
    std::unique_ptr<Proposer> proposer = std::make_unique<LookupProposer>(SpeculationOptions{});
    if (drafts)
      proposer =
          std::make_unique<DraftProposer>(draft.runner(), llmhost::test::kFakeVocab, SpeculationOptions{});
    Engine engine(model.runner(), {}, std::move(proposer));
    int64_t events = 0;
    submit_eight(engine, events);
    CHECK(allocations_of(engine, 20) == 0);
    CHECK(engine.n_running() == 8);
    CHECK(engine.stats().proposed > 0);
  }
}
