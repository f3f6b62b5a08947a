// No memory is allocated by a decode step once it is warm: operator new counts in this binary.
#include <doctest/doctest.h>

#include <vector>

#include "engine/count_allocations.h"
#include "engine/engine.h"
#include "engine/fake_backend.h"

using namespace llmhost::engine;

TEST_CASE("a decode step allocates nothing, with every sampling feature on" *
          doctest::skip(llmhost::test::kThreadTagsChecked)) {
  RunnerOptions options;
  options.max_tokens = 64;
  options.max_sequences = 8;
  options.max_outputs = 8;
  options.max_context = 300;
  options.page_tokens = 4;
  llmhost::test::FakeModel model(options);
  Engine engine(model.runner());
  int64_t events = 0;
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
  for (int step = 0; step < 20; ++step) engine.run_step();
  const int64_t before = llmhost::test::allocations_so_far();
  const int64_t events_before = events;
  for (int step = 0; step < 200; ++step) engine.run_step();
  CHECK(llmhost::test::allocations_so_far() - before == 0);
  CHECK(events - events_before == 8 * 200);
}
