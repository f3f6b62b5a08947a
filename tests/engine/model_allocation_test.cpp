// The same promise as allocation_test.cpp for the whole path: engine, CPU plugin and thread pool.
#include <doctest/doctest.h>

#include "engine/count_allocations.h"
#include "engine/story_model.h"

using namespace llmhost;
using namespace llmhost::engine;

TEST_CASE("a decode step of a real model allocates nothing" *
          doctest::skip(llmhost::test::kThreadTagsChecked)) {
  test::StoryModel model(test::story_options(), 2);
  Engine engine(model.runner());
  for (int i = 0; i < 8; ++i) {
    Request request;
    request.prompt = test::story_prompts()[static_cast<size_t>(i)];
    request.max_tokens = 120;
    request.sampling.seed = 3;
    engine.submit(std::move(request));
  }
  for (int step = 0; step < 10; ++step) engine.run_step();
  const int64_t before = test::allocations_so_far();
  for (int step = 0; step < 100; ++step) engine.run_step();
  CHECK(test::allocations_so_far() - before == 0);
  CHECK(engine.n_running() == 8);
}
