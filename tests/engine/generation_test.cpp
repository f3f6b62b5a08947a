// A real model through loader, CPU plugin and engine: generated tokens and their logprobs are the same, bit
// for bit, however the work is cut up. What is compared is our own run alone, one thread, prompt in one
// piece; goldens_test says that the numbers are right.
#include <doctest/doctest.h>

#include <bit>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "engine/session.h"
#include "engine/story_model.h"

using namespace llmhost;
using namespace llmhost::engine;

namespace {

// Tokens and bits of the logprobs.
struct Output {
  std::vector<int32_t> tokens;
  std::vector<uint64_t> logprobs;
  bool operator==(const Output&) const = default;
};

constexpr int64_t kOutput = 24;

Request request_of(const std::vector<int32_t>& prompt, Output& output) {
  Request request;
  request.prompt = prompt;
  request.max_tokens = kOutput;
  request.sampling.temperature = 0;
  request.sampling.logprobs = true;
  request.on_token = [&output](const TokenEvent& event) {
    output.tokens.push_back(event.choice->token);
    output.logprobs.push_back(std::bit_cast<uint64_t>(event.choice->logprob));
    return true;
  };
  return request;
}

// Every prompt on its own, or all at once.
std::vector<Output> run(ModelRunner& runner, int32_t prefill_chunk, bool together) {
  const auto prompts = test::story_prompts();
  std::vector<Output> outputs(prompts.size());
  EngineOptions options;
  options.prefill_chunk = prefill_chunk;
  Engine engine(runner, options);
  for (size_t i = 0; i < prompts.size(); ++i) {
    engine.submit(request_of(prompts[i], outputs[i]));
    if (!together) engine.run_all();
  }
  engine.run_all();
  return outputs;
}

const std::vector<Output>& reference(const char* file) {
  static std::map<std::string, std::vector<Output>> known;
  auto& outputs = known[file];
  if (outputs.empty()) {
    test::StoryModel model(test::story_options(), 1, file);
    outputs = run(model.runner(), 0, false);
    for (const Output& output : outputs) REQUIRE(output.tokens.size() == kOutput);
  }
  return outputs;
}

const char* const kFiles[] = {"", "stories260K-q8_0.gguf"};

}  // namespace

TEST_CASE("a batch of 32, prompt chunks of 1, 3, 7 and 64, and 1 or 2 threads give the same bits") {
  for (const char* file : kFiles) {
    for (const int32_t threads : {1, 2}) {
      test::StoryModel model(test::story_options(), threads, file);
      for (const int32_t chunk : {0, 1, 3, 7, 64}) {
        CAPTURE(file);
        CAPTURE(threads);
        CAPTURE(chunk);
        CHECK(run(model.runner(), chunk, true) == reference(file));
      }
    }
  }
}

// The page size may show in the bits: a backend may sum page by page.
TEST_CASE("a state so small that sequences are preempted gives the same bits, at every page size") {
  for (const int32_t page_tokens : {1, 5, 32}) {
    RunnerOptions options = test::story_options();
    options.page_tokens = page_tokens;
    test::StoryModel roomy(options, 2);
    const std::vector<Output> expected = run(roomy.runner(), 0, false);
    options.state_tokens = 400;
    test::StoryModel tight(options, 2);
    CAPTURE(page_tokens);
    CHECK(run(tight.runner(), 0, true) == expected);
    CHECK(expected[31].tokens == reference("")[31].tokens);
  }
}

TEST_CASE("the turns of a session, which reuse state, give the bits of a fresh run") {
  test::StoryModel model(test::story_options(), 2);
  Engine engine(model.runner());
  Session session(engine);
  std::vector<int32_t> talk = test::story_prompts()[5];
  for (int turn = 0; turn < 3; ++turn) {
    Output fresh;
    engine.submit(request_of(talk, fresh));
    engine.run_all();
    Output output;
    const RequestId id = session.submit(request_of(talk, output));
    engine.run_all();
    CHECK(output == fresh);
    const auto result = engine.take_result(id);
    if (turn > 0) CHECK(result->usage.reused_tokens == static_cast<int64_t>(talk.size()) - 4);
    talk.insert(talk.end(), result->tokens.begin(), result->tokens.end());
    talk.insert(talk.end(), {10, 20, 30});
  }
}

namespace {

struct CacheCase {
  const char* model;
  llmh_dtype kv_dtype;
};

// Rope, a sliding window of 8, linear biases; and the types of state.
const CacheCase kCacheCases[] = {{"models/stories260K", LLMH_DTYPE_F32},
                                 {"models/stories260K", LLMH_DTYPE_F16},
                                 {"models/stories260K", LLMH_DTYPE_Q8_0},
                                 {"goldens/gemma3-text", LLMH_DTYPE_F32},
                                 {"goldens/bloom", LLMH_DTYPE_F32}};

std::vector<std::vector<int32_t>> prompts_that_begin_alike(std::mt19937& random) {
  const std::vector<int32_t> base = test::story_prompts()[31];
  std::vector<std::vector<int32_t>> prompts;
  for (int i = 0; i < 24; ++i) {
    prompts.emplace_back(base.begin(),
                         base.begin() + static_cast<std::ptrdiff_t>(1 + random() % base.size()));
    for (auto n = random() % 5; n > 0; --n)
      prompts.back().push_back(static_cast<int32_t>(3 + random() % 500));
    for (int32_t& token : prompts.back()) token %= 256;
  }
  return prompts;
}

}  // namespace

// Prompts that begin alike in random lengths, each cold and in an engine whose cache has what came before, on
// so few pages that some are given up and sequences preempted.
TEST_CASE("what the prefix cache has gives the bits of a cold run") {
  std::mt19937 random(7);
  const std::vector<std::vector<int32_t>> prompts = prompts_that_begin_alike(random);
  for (const CacheCase& tested : kCacheCases) {
    CAPTURE(tested.model);
    RunnerOptions options = test::story_options();
    options.page_tokens = 8;
    options.max_context = 124;
    options.kv_dtype = tested.kv_dtype;
    test::StoryModel cold(options, 1, "", tested.model);
    std::vector<Output> expected(prompts.size());
    for (size_t i = 0; i < prompts.size(); ++i) {
      Engine engine(cold.runner());
      engine.submit(request_of(prompts[i], expected[i]));
      engine.run_all();
    }
    for (const int64_t state_tokens : {0, 280}) {
      options.state_tokens = state_tokens;
      test::StoryModel model(options, 2, "", tested.model);
      EngineOptions engine_options;
      engine_options.prefix_cache.pages = PrefixCacheOptions::kAllPages;
      Engine engine(model.runner(), engine_options);
      for (int round = 0; round < 2; ++round) {
        std::vector<Output> outputs(prompts.size());
        for (size_t i = 0; i < prompts.size(); ++i) {
          engine.submit(request_of(prompts[i], outputs[i]));
          for (auto steps = random() % 3; steps > 0; --steps) engine.run_step();
        }
        engine.run_all();
        CHECK(outputs == expected);
      }
      CHECK(engine.stats().prefix_hits > 50);
      if (state_tokens > 0) CHECK(engine.stats().prefix_evictions > 20);
      if (state_tokens > 0) CHECK(engine.stats().preemptions > 0);
    }
  }
}
