// Speculative decoding on the fake model, whose logits change with every token before: a wrong token, page or
// position after a refused proposal shows at once.
#include "engine/speculation.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <random>
#include <vector>

#include "core/error.h"
#include "engine/fake_backend.h"
#include "engine/lookup.h"
#include "engine/session.h"
#include "engine/small_engine.h"

using namespace llmhost;
using namespace llmhost::engine;
using llmhost::test::FakeModel;
using llmhost::test::FakeOptions;
using llmhost::test::random_prompt;
using llmhost::test::request_of;

namespace {

RunnerOptions small_runner() {
  return test::small_runner(24, 20);
}

// Proposes what the model will choose, mostly.
class GoodGuess final : public Proposer {
 public:
  GoodGuess(const SpeculationOptions& options, int32_t scaling_from, uint32_t wrong_percent)
      : Proposer(options), scaling_from_(scaling_from), wrong_percent_(wrong_percent) {}

  void propose(std::span<Sequence* const> sequences) override {
    for (Sequence* const sequence : sequences) {
      std::vector<int32_t> text = sequence->tokens;
      for (int32_t i = room(*sequence); i > 0; --i) {
        const std::vector<float> row = test::fake_logits(text, sequence->prompt_length, scaling_from_);
        auto token = static_cast<int32_t>(std::max_element(row.begin(), row.end()) - row.begin());
        if (random_() % 100 < wrong_percent_) token = static_cast<int32_t>(random_() % 90);
        sequence->proposals.push(token);
        text.push_back(token);
      }
    }
  }

 private:
  int32_t scaling_from_;
  uint32_t wrong_percent_;
  std::mt19937 random_{3};
};

std::unique_ptr<Proposer> guesses(uint32_t wrong_percent, int32_t tokens = 4,
                                  int32_t scaling_from = INT32_MAX) {
  SpeculationOptions options;
  options.tokens = tokens;
  return std::make_unique<GoodGuess>(options, scaling_from, wrong_percent);
}

}  // namespace

TEST_CASE("find_continuation finds the longest end of the text again, the latest of equals") {
  const auto find = [](std::vector<int32_t> text, int32_t low, int32_t high) {
    return find_continuation(text, low, high);
  };
  CHECK(find({}, 1, 3) == 0);
  CHECK(find({7}, 1, 3) == 1);
  CHECK(find({7, 7}, 1, 3) == 1);
  CHECK(find({1, 2, 3, 4}, 1, 3) == 4);
  CHECK(find({1, 2, 9, 1, 2, 8, 1, 2}, 1, 3) == 5);        // the latest
  CHECK(find({5, 1, 2, 9, 1, 2, 8, 5, 1, 2}, 1, 3) == 3);  // the longest
  CHECK(find({5, 1, 2, 9, 1, 2, 8, 5, 1, 2}, 1, 2) == 6);
  CHECK(find({5, 2, 9, 1, 2}, 2, 4) == 5);  // one token is not enough
  CHECK(find({4, 4, 4, 4, 4}, 2, 3) == 4);
}

TEST_CASE("lookup goes on with a repetition beyond the end of the text") {
  SpeculationOptions options;
  options.tokens = 7;
  LookupProposer lookup(options);
  Sequence sequence(1, request_of({9, 1, 2, 3, 1, 2, 3}, 100), 100, 1);
  sequence.proposals.reserve(7, false);
  Sequence* const all[] = {&sequence};
  lookup.propose(all);
  const std::vector<int32_t> expected = {1, 2, 3, 1, 2, 3, 1};
  CHECK(std::vector<int32_t>(sequence.proposals.tokens().begin(), sequence.proposals.tokens().end()) ==
        expected);
}

TEST_CASE("fewer tokens are proposed after a refusal, more when all hold") {
  Proposals proposals;
  proposals.reserve(8, false);
  const auto propose = [&](int accepted) {
    for (int32_t i = 0; i < proposals.limit(); ++i) proposals.push(i);
    for (int i = 0; i < accepted; ++i) proposals.accept_front();
    proposals.refuse();
    CHECK(proposals.empty());
    return proposals.limit();
  };
  CHECK(proposals.limit() == 8);
  CHECK(propose(8) == 8);
  CHECK(propose(2) == 3);
  CHECK(propose(0) == 1);
  CHECK(propose(0) == 1);
  CHECK(propose(1) == 2);
  CHECK(propose(2) == 4);
  CHECK(propose(4) == 8);
}

TEST_CASE("with guesses, good and bad, a request gives what the model gives alone") {
  std::mt19937 random(17);
  EngineStats all;
  for (int round = 0; round < 60; ++round) {
    RunnerOptions options = small_runner();
    options.max_sequences = 1 + static_cast<int32_t>(random() % 6);
    options.max_tokens = options.max_sequences + static_cast<int32_t>(random() % 20);
    options.max_outputs = options.max_sequences + static_cast<int32_t>(random() % 12);
    options.page_tokens = 1 + static_cast<int32_t>(random() % 9);
    options.state_tokens = round % 2 == 0 ? 0 : 64 + static_cast<int64_t>(random() % 60);
    FakeOptions fake;
    fake.scaling_from = round % 4 == 0 ? 10 : INT32_MAX;
    FakeModel model(options, fake);
    EngineOptions engine_options;
    engine_options.prefill_chunk = static_cast<int32_t>(random() % 4) * 3;
    Engine engine(model.runner(), engine_options,
                  guesses(static_cast<uint32_t>(random() % 3) * 20, 1 + static_cast<int32_t>(random() % 8),
                          fake.scaling_from));
    std::map<RequestId, std::vector<int32_t>> expected;
    for (int i = 0; i < 12; ++i) {
      const std::vector<int32_t> prompt = random_prompt(random, 1 + random() % 30);
      const auto n = static_cast<int64_t>(random() % 30);
      Request request = request_of(prompt, n);
      request.priority = static_cast<int32_t>(random() % 2);
      int64_t logits = 0;
      if (i % 5 == 0)
        request.on_prompt_logits = [&logits](const PromptLogits& chunk) { logits += chunk.n_rows; };
      expected[engine.submit(std::move(request))] = test::fake_greedy(prompt, n, fake.scaling_from);
      if (i % 5 == 0) {
        engine.run_all();
        CHECK(logits == static_cast<int64_t>(prompt.size()));
      }
      for (uint32_t steps = random() % 4; steps > 0; --steps) engine.run_step();
    }
    engine.run_all();
    for (const auto& [id, tokens] : expected) {
      const auto result = engine.take_result(id);
      REQUIRE(result.has_value());
      REQUIRE(result->error == "");
      REQUIRE(result->tokens == tokens);
      CHECK(result->usage.steps + result->usage.accepted >= static_cast<int64_t>(tokens.size()));
    }
    CHECK(engine.idle());
    CHECK(engine.free_pages() == engine.n_pages());
    all.preemptions += engine.stats().preemptions;
    all.proposed += engine.stats().proposed;
    all.accepted += engine.stats().accepted;
  }
  CHECK(all.preemptions > 20);
  CHECK(all.accepted > all.proposed / 3);
  CHECK(all.accepted < all.proposed);
}

TEST_CASE("perfect guesses make a token for every output row") {
  FakeModel model(small_runner());
  Engine engine(model.runner(), {}, guesses(0));
  const RequestId id = engine.submit(request_of({1, 2, 3}, 41));
  engine.run_all();
  const auto result = engine.take_result(id);
  CHECK(result->tokens == test::fake_greedy({1, 2, 3}, 41));
  CHECK(result->usage.steps == 9);  // the first with the prompt, then 8 of 4 proposals and one more token
  CHECK(result->usage.proposed == 32);
  CHECK(result->usage.accepted == 32);
}

TEST_CASE("stop tokens, callbacks and max_tokens end a request inside a run of proposals") {
  const std::vector<int32_t> tokens = test::fake_greedy({1, 2, 3}, 30);
  for (size_t end = 0; end < tokens.size(); ++end) {
    const auto run = [&](auto&& change) {
      FakeModel model(small_runner());
      Engine engine(model.runner(), {}, guesses(10));
      Request request = request_of({1, 2, 3}, 30);
      change(request);
      const RequestId id = engine.submit(std::move(request));
      engine.run_all();
      CHECK(engine.free_pages() == engine.n_pages());
      return engine.take_result(id)->tokens;
    };
    const auto first = [&](size_t n) {
      return std::vector<int32_t>(tokens.begin(), tokens.begin() + static_cast<std::ptrdiff_t>(n));
    };
    CHECK(run([&](Request& request) { request.max_tokens = static_cast<int64_t>(end); }) == first(end));
    CHECK(run([&](Request& request) {
            request.on_token = [&](const TokenEvent& event) {
              return event.n_output <= static_cast<int64_t>(end);
            };
          }) == first(end + 1));
    const auto stop =
        static_cast<size_t>(std::find(tokens.begin(), tokens.end(), tokens[end]) - tokens.begin());
    CHECK(run([&](Request& request) { request.stop_tokens = {tokens[end]}; }) == first(stop));
  }
}

TEST_CASE("a session goes on from the state that proposals left") {
  FakeModel model(small_runner());
  Engine engine(model.runner(), {}, guesses(30));
  Session session(engine);
  std::vector<int32_t> talk = {4, 5, 6};
  for (int turn = 0; turn < 4; ++turn) {
    const RequestId id = session.submit(request_of(talk, 11));
    engine.run_all();
    const auto result = engine.take_result(id);
    CHECK(result->tokens == test::fake_greedy(talk, 11));
    if (turn > 0) CHECK(result->usage.reused_tokens == static_cast<int64_t>(talk.size()) - 2);
    talk.insert(talk.end(), result->tokens.begin(), result->tokens.end());
    talk.push_back(7);
  }
}

TEST_CASE("guesses without a distribution change no seeded output") {
  SamplingParams sampling;
  sampling.temperature = 0.9F;
  sampling.top_k = 3;
  sampling.frequency_penalty = 0.5F;
  sampling.repetition_penalty = 1.2F;
  sampling.logit_bias = {{3, 2.0F}};
  sampling.logprobs = true;
  sampling.seed = 99;
  const auto run = [&](std::unique_ptr<Proposer> proposer, int64_t state_tokens) {
    RunnerOptions options = small_runner();
    options.state_tokens = state_tokens;
    FakeModel model(options);
    Engine engine(model.runner(), {}, std::move(proposer));
    std::vector<double> logprobs;
    for (int32_t i = 0; i < 6; ++i) {
      Request request = request_of({i, 1, 2}, 50);
      request.sampling = sampling;
      request.on_token = [&logprobs](const TokenEvent& event) {
        logprobs.push_back(event.choice->logprob + event.choice->token);
        return true;
      };
      engine.submit(std::move(request));
    }
    engine.run_all();
    std::sort(logprobs.begin(), logprobs.end());  // the order among the requests may differ
    return logprobs;
  };
  const std::vector<double> plain = run(nullptr, 0);
  CHECK(plain.size() == 300);
  CHECK(run(guesses(0), 0) == plain);
  CHECK(run(guesses(30, 7), 90) == plain);
  CHECK(run(std::make_unique<LookupProposer>(SpeculationOptions{}), 0) == plain);
}
