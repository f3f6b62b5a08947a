#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "core/error.h"
#include "engine/engine.h"
#include "engine/fake_backend.h"
#include "engine/lookup.h"
#include "engine/sampler_reference.h"
#include "engine/small_engine.h"

using namespace llmhost;
using namespace llmhost::engine;
using llmhost::test::FakeModel;

namespace {

// Position i allows the tokens of sets[i], the last of them for good, or ends after them.
class SetsConstraint : public TokenConstraint {
 public:
  SetsConstraint(std::vector<std::vector<int32_t>> sets, bool is_closed)
      : sets_(std::move(sets)), is_closed_(is_closed) {}
  void allowed(std::span<uint64_t> mask) override {
    const auto& set = sets_[std::min(at_, sets_.size() - 1)];
    for (const int32_t token : set) mask[static_cast<size_t>(token) / 64] |= uint64_t{1} << (token % 64);
  }
  void accept(int32_t token) override {
    if (token == kThrowToken) throw std::runtime_error("the constraint failed");
    ++at_;
  }
  bool is_complete() const override { return is_closed_ && at_ == sets_.size(); }

  static constexpr int32_t kThrowToken = 66;

 private:
  std::vector<std::vector<int32_t>> sets_;
  size_t at_ = 0;
  bool is_closed_;
};

Request constrained(std::vector<std::vector<int32_t>> sets, bool is_closed, float temperature) {
  Request request = test::request_of({1, 2, 3}, 10, temperature);
  request.constraint = std::make_unique<SetsConstraint>(std::move(sets), is_closed);
  return request;
}

Result run(Request request, std::unique_ptr<Proposer> proposer = nullptr) {
  FakeModel model(test::small_runner(16, 8));
  Engine engine(model.runner(), {}, std::move(proposer));
  const RequestId id = engine.submit(std::move(request));
  engine.run_all();
  return engine.take_result(id).value();
}

std::vector<uint64_t> mask_of(const std::vector<int32_t>& tokens, size_t vocab) {
  std::vector<uint64_t> mask((vocab + 63) / 64);
  for (const int32_t token : tokens) mask[static_cast<size_t>(token) / 64] |= uint64_t{1} << (token % 64);
  return mask;
}

}  // namespace

TEST_CASE("a row keeps only what a mask names, in whole and in partial blocks") {
  std::mt19937 random(3);
  for (const size_t vocab : {1U, 63U, 64U, 255U, 256U, 257U, 1000U, 2048U}) {
    const std::vector<float> row = test::random_row(vocab, static_cast<uint32_t>(vocab));
    LogitRow logits(static_cast<int64_t>(vocab));
    for (int round = 0; round < 20; ++round) {
      std::vector<int32_t> kept;
      for (size_t t = 0; t < vocab; ++t)
        if ((t / 256 + static_cast<size_t>(round)) % 3 == 0 ? random() % 2 == 0
                                                            : t % 256 / 128 == random() % 9)
          kept.push_back(static_cast<int32_t>(t));
      if (round == 0) {
        kept.clear();
        for (size_t t = 0; t < vocab; ++t) kept.push_back(static_cast<int32_t>(t));
      }
      if (kept.empty()) kept.push_back(0);
      REQUIRE(logits.assign(row));
      if (round % 2 == 0) {
        logits.edit(0) += 1;
        logits.finish_edits();
      }
      logits.keep_only(mask_of(kept, vocab));
      float largest = -INFINITY;
      for (size_t t = 0; t < vocab; ++t) {
        const bool is_kept = std::find(kept.begin(), kept.end(), static_cast<int32_t>(t)) != kept.end();
        const float value = t == 0 && round % 2 == 0 ? row[0] + 1 : row[t];
        REQUIRE(logits[static_cast<int32_t>(t)] == (is_kept ? value : -INFINITY));
        if (is_kept) largest = std::max(largest, value);
      }
      CHECK(logits.largest() == largest);
      CHECK(logits[logits.argmax()] == largest);
    }
  }
}

TEST_CASE("constrained draws follow the distribution over what is allowed; logprobs stay the model's") {
  const std::vector<float> row = test::random_row(700, 4);
  const std::vector<int32_t> kept = {3, 5, 64, 255, 256, 300, 699};
  for (const float temperature : {0.0F, 0.3F, 1.0F, 3.0F})
    for (const int32_t top_k : {0, 3, 50})
      for (const float top_p : {1.0F, 0.8F}) {
        SamplingParams params;
        params.temperature = temperature;
        params.top_k = top_k;
        params.top_p = top_p;
        params.logprobs = true;
        params.top_logprobs = 2;
        Sampler sampler(700);
        Sampler small(static_cast<int64_t>(kept.size()));
        std::vector<float> small_row;
        for (const int32_t token : kept) small_row.push_back(row[static_cast<size_t>(token)]);
        SamplerState state;
        SamplerState small_state;
        state.start(params, 9, {}, 300);
        small_state.start(params, 9, {}, 300);
        SetsConstraint constraint({kept}, false);
        for (int i = 0; i < 200; ++i) {
          Choice choice;
          Choice expected;
          sampler.sample(row, state, 0, Proposal{}, &constraint, choice);
          small.sample(small_row, small_state, 0, expected);
          // The same draw among the same weights in the same order.
          REQUIRE(choice.token == kept[static_cast<size_t>(expected.token)]);
          Choice plain;
          SamplerState other;
          other.start(params, 1, {}, 1);
          sampler.sample(row, other, 0, plain);
          REQUIRE(choice.top[0].token == plain.top[0].token);
          REQUIRE(choice.top[0].logprob == plain.top[0].logprob);
        }
      }
}

TEST_CASE("a constraint rules the output, ends it when complete, and its errors end the request alone") {
  for (const float temperature : {0.0F, 1.0F}) {
    const Result closed = run(constrained({{7}, {8, 9}, {10}}, true, temperature));
    CHECK(closed.reason == FinishReason::kStop);
    REQUIRE(closed.tokens.size() == 3);
    CHECK(closed.tokens[0] == 7);
    CHECK((closed.tokens[1] == 8 || closed.tokens[1] == 9));
    const Result open = run(constrained({{7, 70}}, false, temperature));
    CHECK(open.reason == FinishReason::kLength);
    for (const int32_t token : open.tokens) CHECK((token == 7 || token == 70));
    const Result failed = run(constrained({{7}, {SetsConstraint::kThrowToken}}, false, temperature));
    CHECK(failed.reason == FinishReason::kError);
    CHECK(failed.error == "the constraint failed");
    const Result nothing = run(constrained({{7}, {}}, false, temperature));
    CHECK(nothing.reason == FinishReason::kError);
    CHECK(nothing.error.find("allows none") != std::string::npos);
  }
  Request stops = constrained({{7}, {8}}, false, 0);
  stops.stop_tokens = {8};
  CHECK(run(std::move(stops)).stop_token == 8);
}

TEST_CASE("constrained requests take no proposals, and give the same tokens beside speculation") {
  SpeculationOptions options;
  options.ngram_min = 1;
  const std::vector<std::vector<int32_t>> sets = {{7, 8, 9, 10}};
  const Result alone = run(constrained(sets, false, 1));
  const Result beside = run(constrained(sets, false, 1), std::make_unique<LookupProposer>(options));
  CHECK(alone.tokens == beside.tokens);
  CHECK(beside.usage.proposed == 0);
}
