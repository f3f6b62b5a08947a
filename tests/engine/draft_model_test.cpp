// Proposals of a draft model on the fake models of fake_backend.h.
#include "engine/draft_model.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <random>
#include <vector>

#include "engine/fake_backend.h"
#include "engine/sampler_reference.h"
#include "engine/session.h"
#include "engine/small_engine.h"

using namespace llmhost;
using namespace llmhost::engine;
using llmhost::test::chi_square_bound;
using llmhost::test::FakeModel;
using llmhost::test::FakeOptions;
using llmhost::test::random_prompt;
using llmhost::test::request_of;

namespace {

RunnerOptions small_runner() {
  return test::small_runner(24, 20);
}

// Target and draft of the fake model: the same, or one whose numbers part from the other's at the fourth
// token.
struct DraftedModel {
  explicit DraftedModel(const RunnerOptions& options, bool is_same)
      : model(options, fake()), draft(small_runner(), fake(is_same)) {}
  static FakeOptions fake(bool is_same = true) {
    FakeOptions options;
    options.scaling_from = is_same ? INT32_MAX : 5;
    return options;
  }
  std::unique_ptr<Proposer> proposer(int32_t tokens = 3) {
    SpeculationOptions options;
    options.tokens = tokens;
    return std::make_unique<DraftProposer>(draft.runner(), model.runner().vocab_size(), options);
  }
  FakeModel model;
  FakeModel draft;
};

}  // namespace

TEST_CASE("a draft model that is the model itself is always right, alone, in batches and over turns") {
  std::mt19937 random(2);
  for (const int64_t state_tokens : {0, 70}) {
    RunnerOptions options = small_runner();
    options.state_tokens = state_tokens;
    FakeModel model(options);
    FakeModel draft(small_runner());
    auto proposer = std::make_unique<DraftProposer>(draft.runner(), test::kFakeVocab, SpeculationOptions{});
    Engine engine(model.runner(), {}, std::move(proposer));
    std::map<RequestId, std::vector<int32_t>> expected;
    for (int i = 0; i < 10; ++i) {
      const std::vector<int32_t> prompt = random_prompt(random, 1 + random() % 20);
      expected[engine.submit(request_of(prompt, 30))] = test::fake_greedy(prompt, 30);
    }
    engine.run_all();
    for (const auto& [id, tokens] : expected) CHECK(engine.take_result(id)->tokens == tokens);
    CHECK(engine.stats().proposed > 0);
    CHECK(engine.stats().accepted == engine.stats().proposed);
    Session session(engine);
    std::vector<int32_t> talk = {4, 5, 6};
    for (int turn = 0; turn < 3; ++turn) {
      const RequestId id = session.submit(request_of(talk, 13));
      engine.run_all();
      const auto result = engine.take_result(id);
      CHECK(result->tokens == test::fake_greedy(talk, 13));
      talk.insert(talk.end(), result->tokens.begin(), result->tokens.end());
    }
    CHECK(engine.stats().accepted == engine.stats().proposed);
  }
}

TEST_CASE("a draft model that is wrong changes no greedy token") {
  DraftedModel models(small_runner(), false);
  Engine engine(models.model.runner(), {}, models.proposer());
  const RequestId id = engine.submit(request_of({1, 2, 3}, 50));
  engine.run_all();
  const auto result = engine.take_result(id);
  CHECK(result->tokens == test::fake_greedy({1, 2, 3}, 50));
  CHECK(result->usage.accepted < result->usage.proposed);
}

TEST_CASE("drafted requests with a seed give the same tokens alone, among others and when preempted") {
  const auto run = [](uint64_t seed, int neighbours, int64_t state_tokens, int32_t max_outputs) {
    RunnerOptions options = small_runner();
    options.state_tokens = state_tokens;
    options.max_outputs = max_outputs;
    DraftedModel models(options, false);
    Engine engine(models.model.runner(), {}, models.proposer(5));
    for (int32_t i = 0; i < neighbours; ++i) engine.submit(request_of({i, 8}, 40, 1));
    Request request = request_of({1, 2, 3}, 50, 1);
    request.sampling.seed = seed;
    // Two tokens alone are possible, so that proposals often hold.
    request.sampling.logit_bias = {{4, 50.0F}, {5, 50.0F}};
    const RequestId id = engine.submit(std::move(request));
    for (int32_t i = 0; i < neighbours; ++i) engine.submit(request_of({i, 9}, 30, 1));
    engine.run_all();
    return std::pair(engine.take_result(id)->tokens, engine.stats());
  };
  for (uint64_t seed = 0; seed < 20; ++seed) {
    const std::vector<int32_t> alone = run(seed, 0, 0, 20).first;
    CHECK(alone.size() == 50);
    CHECK(run(seed, 3, 0, 20).first == alone);
    CHECK(run(seed, 0, 0, 4).first == alone);  // no row for a proposal but the last: one after another
    CHECK(run(seed, 0, 0, 6).first == alone);
    const auto tight = run(seed, 3, 66, 9);
    CHECK(tight.first == alone);
    CHECK(tight.second.preemptions > 0);
  }
}

namespace {

// What plain sampling draws from after `text` when all but the first n tokens are ruled out.
std::vector<double> shares_after(const std::vector<int32_t>& text, int64_t prompt_length, int32_t n) {
  const std::vector<float> row = test::fake_logits(text, prompt_length);
  std::vector<double> shares;
  double total = 0;
  for (int32_t i = 0; i < n; ++i) {
    shares.push_back(std::exp(static_cast<double>(row[static_cast<size_t>(i)])));
    total += shares.back();
  }
  for (double& share : shares) share /= total;
  return shares;
}

}  // namespace

TEST_CASE("what a draft model proposes leaves the distribution of the output as it was") {
  // Biases leave 5 of the 97 tokens. The second and third token of the output are both proposals, or follow a
  // refused one; their pairs are counted where the first is the most probable one. Draft and target have
  // nothing in common: most proposals are refused.
  constexpr int32_t kTokens = 5;
  const std::vector<int32_t> prompt = {11, 12, 13, 14, 15, 16};
  const std::vector<double> start = shares_after(prompt, 6, kTokens);
  const auto first = static_cast<int32_t>(std::max_element(start.begin(), start.end()) - start.begin());
  DraftedModel models(small_runner(), false);
  Engine engine(models.model.runner(), {}, models.proposer(2));
  std::vector<int> counts(kTokens * kTokens, 0);
  int drawn = 0;
  for (uint64_t seed = 0; seed < 20'000; ++seed) {
    Request request = request_of(prompt, 4, 1);
    request.sampling.seed = seed;
    for (int32_t i = 0; i < kTokens; ++i) request.sampling.logit_bias.push_back({i, 50.0F});
    request.on_finish = [&](Result&& result) {
      if (result.tokens[0] != first) return;
      ++counts[static_cast<size_t>(result.tokens[1] * kTokens + result.tokens[2])];
      ++drawn;
    };
    engine.submit(std::move(request));
    engine.run_all();
  }
  std::vector<int32_t> text = prompt;
  text.push_back(first);
  const std::vector<double> second = shares_after(text, 6, kTokens);
  double chi = 0;
  int freedom = -1;
  for (int32_t a = 0; a < kTokens; ++a) {
    std::vector<int32_t> longer = text;
    longer.push_back(a);
    const std::vector<double> third = shares_after(longer, 6, kTokens);
    for (int32_t b = 0; b < kTokens; ++b) {
      const double mean = drawn * second[static_cast<size_t>(a)] * third[static_cast<size_t>(b)];
      if (mean < 5) continue;  // too rare for the approximation by chi-square
      const double difference = counts[static_cast<size_t>(a * kTokens + b)] - mean;
      chi += difference * difference / mean;
      ++freedom;
    }
  }
  MESSAGE("chi-square " << chi << ", bound " << chi_square_bound(freedom) << " with " << freedom
                        << " degrees of freedom, " << drawn << " runs, accepted " << engine.stats().accepted
                        << " of " << engine.stats().proposed);
  CHECK(engine.stats().accepted > 1000);
  CHECK(engine.stats().accepted < engine.stats().proposed - 1000);
  CHECK(freedom > 10);
  // Seeds are fixed: a right sampler would have had one chance in a thousand to be refused, once for all.
  CHECK(chi < chi_square_bound(freedom));
}
