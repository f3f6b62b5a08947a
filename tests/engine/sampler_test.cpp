#include "engine/sampler.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>
#include <vector>

#include "core/error.h"
#include "engine/random.h"
#include "engine/sampler_reference.h"

using namespace llmhost::engine;
using llmhost::test::random_row;
using llmhost::test::reference_distribution;
using llmhost::test::with;

namespace {

int32_t sample_one(Sampler& sampler, SamplerState& state, const std::vector<float>& row) {
  Choice choice;
  sampler.sample(row, state, 0, choice);
  return choice.token;
}

// Chi-square of `draws` samples against the reference distribution, per degree of freedom; fails on a token
// of probability 0.
double chi_square_per_freedom(const std::vector<float>& row, const SamplingParams& params, int draws) {
  Sampler sampler(static_cast<int64_t>(row.size()));
  SamplerState state;
  state.start(params, 12345, {}, static_cast<size_t>(draws));
  std::vector<int> counts(row.size(), 0);
  for (int i = 0; i < draws; ++i) ++counts[static_cast<size_t>(sample_one(sampler, state, row))];
  const std::vector<double> expected = reference_distribution(row, params);
  double chi = 0;
  int freedom = -1;
  for (size_t i = 0; i < row.size(); ++i) {
    if (expected[i] == 0) {
      REQUIRE(counts[i] == 0);
      continue;
    }
    const double mean = expected[i] * draws;
    chi += (counts[i] - mean) * (counts[i] - mean) / mean;
    ++freedom;
  }
  return freedom < 1 ? 0 : chi / freedom;
}

}  // namespace

TEST_CASE("draws follow the distribution that the chain defines") {
  const std::vector<float> row = random_row(40, 1);
  // With 10 to 39 degrees of freedom chi-square per degree stays below 2 with probability > 0.97; seeds are
  // fixed.
  CHECK(chi_square_per_freedom(row, with(1, 0, 1, 0), 100'000) < 2);
  CHECK(chi_square_per_freedom(row, with(2.5F, 0, 1, 0), 100'000) < 2);
  CHECK(chi_square_per_freedom(row, with(1, 12, 1, 0), 100'000) < 2);
  CHECK(chi_square_per_freedom(row, with(1, 0, 0.9F, 0), 100'000) < 2);
  CHECK(chi_square_per_freedom(row, with(1.5F, 30, 0.8F, 0), 100'000) < 2);
  CHECK(chi_square_per_freedom(row, with(1, 0, 1, 0.1F), 100'000) < 2);
  CHECK(chi_square_per_freedom(row, with(0.7F, 20, 0.95F, 0.05F), 100'000) < 2);
}

TEST_CASE("the kept set is right on large rows, with ties and for every cut") {
  for (uint32_t seed = 1; seed <= 30; ++seed) {
    const size_t vocab = 100 + seed * 97;
    std::vector<float> row = random_row(vocab, seed, seed % 3 == 0 ? 0.01F : 6.0F);
    if (seed % 2 == 0)
      for (float& value : row) value = std::round(value);  // many equal logits
    const SamplingParams params = with(1, seed % 4 == 0 ? static_cast<int32_t>(seed * 20) : 0,
                                       seed % 5 == 0 ? 1.0F : 0.99F, seed % 5 == 0 ? 0.3F : 0.0F);
    const std::vector<double> expected = reference_distribution(row, params);
    Sampler sampler(static_cast<int64_t>(vocab));
    SamplerState state;
    state.start(params, seed, {}, 500);
    for (int i = 0; i < 500; ++i) REQUIRE(expected[static_cast<size_t>(sample_one(sampler, state, row))] > 0);
  }
}

TEST_CASE("largest finds the k largest in order, lower ids first among equals") {
  for (const size_t vocab : {size_t{1}, size_t{63}, size_t{64}, size_t{65}, size_t{5000}}) {
    std::vector<float> row = random_row(vocab, 9);
    for (float& value : row) value = std::round(value * 4);
    std::vector<int32_t> order(vocab);
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
      return row[static_cast<size_t>(a)] > row[static_cast<size_t>(b)];
    });
    Selector selector(static_cast<int64_t>(vocab));
    LogitRow scanned(static_cast<int64_t>(vocab));
    REQUIRE(scanned.assign(row));
    for (const int64_t k : {0, 1, 2, 20, 64, 65, 100, 4999, 9999}) {
      const auto found = selector.largest(scanned, k);
      REQUIRE(static_cast<int64_t>(found.size()) == std::min<int64_t>(k, static_cast<int64_t>(vocab)));
      for (size_t i = 0; i < found.size(); ++i) REQUIRE(candidate_token(found[i]) == order[i]);
    }
  }
}

TEST_CASE("the exponential is that of the library to 1e-14") {
  for (double x = 0; x > -699; x -= 0.0371) {
    const double expected = std::exp(x);
    REQUIRE(std::abs(exp_nonpositive(x) - expected) <= 1e-14 * expected);
  }
  CHECK(exp_nonpositive(0) == 1);
  CHECK(exp_nonpositive(-1e9) == 0);
}

TEST_CASE("candidates keep the logit and the token") {
  for (const float logit : {-1e30F, -1.5F, 0.0F, 1e-30F, 2.0F, 3e38F}) {
    CHECK(candidate_logit(make_candidate(logit, 77)) == logit);
    CHECK(candidate_token(make_candidate(logit, 77)) == 77);
  }
  CHECK(make_candidate(2, 5) < make_candidate(1, 0));
  CHECK(make_candidate(-2, 5) > make_candidate(-1, 9));
  CHECK(make_candidate(0.0F, 3) < make_candidate(-0.0F, 4));
  CHECK(make_candidate(0.0F, 4) > make_candidate(-0.0F, 3));
}

TEST_CASE("temperature 0 takes the largest logit, the lowest id of equals, after bias and penalties") {
  Sampler sampler(5);
  SamplerState state;
  SamplingParams params;
  params.temperature = 0;
  state.start(params, 1, {}, 10);
  CHECK(sample_one(sampler, state, {1, 3, 3, 2, 0}) == 1);
  params.logit_bias = {{4, 10.0F}};
  state.start(params, 1, {}, 10);
  CHECK(sample_one(sampler, state, {1, 3, 3, 2, 0}) == 4);
}

TEST_CASE("penalties: repetition counts the prompt, presence and frequency the output only") {
  Sampler sampler(4);
  SamplerState state;
  const std::vector<int32_t> prompt = {0, 0};
  SamplingParams params;
  params.temperature = 0;
  params.repetition_penalty = 2;
  state.start(params, 1, prompt, 10);
  CHECK(sample_one(sampler, state, {4, 3, -1, -3}) == 1);       // 4 / 2 < 3
  CHECK(sample_one(sampler, state, {-1, -1, -1.5F, -3}) == 2);  // -2, -2, -1.5
  params.repetition_penalty = 1;
  params.presence_penalty = 1;
  state.start(params, 1, prompt, 10);
  CHECK(sample_one(sampler, state, {4, 3.5F, 0, 0}) == 0);  // the prompt does not count
  CHECK(sample_one(sampler, state, {4, 3.5F, 0, 0}) == 1);  // 3, 3.5
  CHECK(sample_one(sampler, state, {4, 3.5F, 0, 0}) == 0);  // 3, 2.5: presence counts once
  CHECK(sample_one(sampler, state, {4, 3.5F, 2.9F, 0}) == 0);
  params.presence_penalty = 0;
  params.frequency_penalty = 1;
  state.start(params, 1, prompt, 10);
  for (const int32_t expected : {0, 1, 0, 1, 0, 1})  // 4, 3.5; 3, 3.5; 3, 2.5; 2, 2.5 ...
    CHECK(sample_one(sampler, state, {4, 3.5F, -9, -9}) == expected);
}

TEST_CASE("a seed gives the same tokens whatever other sequences do in between") {
  const std::vector<float> row = random_row(300, 4);
  const auto run = [&](bool with_neighbour) {
    Sampler sampler(300);
    SamplerState state;
    SamplerState neighbour;
    state.start(SamplingParams{}, 99, {}, 50);
    neighbour.start(with(0.5F, 7, 0.5F, 0), 3, {}, 50);
    std::vector<int32_t> tokens;
    for (int i = 0; i < 50; ++i) {
      if (with_neighbour) sample_one(sampler, neighbour, row);
      tokens.push_back(sample_one(sampler, state, row));
    }
    return tokens;
  };
  CHECK(run(false) == run(true));
}

TEST_CASE("the random numbers are fixed for ever") {
  // Computed with Python integers from the published SplitMix64 constants.
  CHECK(mix_bits(1) == 0x5692161D100B05E5U);
  double sum = 0;
  for (uint64_t i = 0; i < 100'000; ++i) {
    const double u = uniform_at(7, i);
    REQUIRE(u >= 0);
    REQUIRE(u < 1);
    sum += u;
  }
  // The mean of 100 000 has a standard deviation of 0.0009.
  CHECK(std::abs(sum / 100'000 - 0.5) < 0.004);
}

TEST_CASE("logprobs are the log-softmax of the untouched logits, most likely first") {
  const std::vector<float> row = random_row(1000, 5);
  SamplingParams params = with(0.3F, 5, 0.5F, 0);
  params.logprobs = true;
  params.top_logprobs = 4;
  params.logit_bias = {{17, 100.0F}};
  Sampler sampler(1000);
  SamplerState state;
  state.start(params, 1, {}, 10);
  Choice choice;
  sampler.sample(row, state, 0, choice);
  CHECK(choice.token == 17);
  long double sum = 0;
  for (const float logit : row) sum += std::exp(static_cast<long double>(logit));
  // Both sides are double or better: what is left is the rounding of a sum of 1000 terms.
  CHECK(choice.logprob == doctest::Approx(static_cast<double>(row[17] - std::log(sum))).epsilon(1e-12));
  REQUIRE(choice.n_top == 4);
  CHECK(choice.top[0].token == std::max_element(row.begin(), row.end()) - row.begin());
  for (size_t i = 1; i < 4; ++i) CHECK(choice.top[i].logprob <= choice.top[i - 1].logprob);
}

TEST_CASE("a NaN or an infinity in the logits is an error that names the position and the token") {
  Sampler sampler(8);
  SamplerState state;
  state.start(SamplingParams{}, 1, {}, 10);
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
                          -std::numeric_limits<float>::infinity()}) {
    std::vector<float> row(8, 1.0F);
    row[5] = bad;
    Choice choice;
    std::string message;
    try {
      sampler.sample(row, state, 41, choice);
    } catch (const llmhost::Error& error) {
      message = error.what();
      CHECK(error.code() == llmhost::ErrorCode::kDataLoss);
    }
    CHECK(message.find("after position 41") != std::string::npos);
    CHECK(message.find("for token 5") != std::string::npos);
  }
}

TEST_CASE("extreme parameters still give a token of the row") {
  std::vector<float> row = {3e38F, -3e38F, 0, 1};
  Sampler sampler(4);
  SamplerState state;
  for (const float temperature : {1e-30F, 1e-5F, 100.0F}) {
    state.start(with(temperature, 0, 1e-7F, 1), 1, {}, 10);
    CHECK(sample_one(sampler, state, row) == 0);
    state.start(with(temperature, 0, 1, 0), 1, {}, 10);
    CHECK(sample_one(sampler, state, row) == 0);
  }
}

TEST_CASE("parameters out of range are refused by name") {
  const auto message = [](auto&& change) -> std::string {
    SamplingParams params;
    change(params);
    try {
      params.validate(100);
    } catch (const llmhost::Error& error) {
      return error.what();
    }
    return "accepted";
  };
  const float nan = std::numeric_limits<float>::quiet_NaN();
  CHECK(message([](SamplingParams&) {}) == "accepted");
  CHECK(message([](SamplingParams& p) { p.temperature = -1; }) ==
        "temperature: got -1, expected a number from 0 to 100");
  CHECK(message([&](SamplingParams& p) { p.temperature = nan; }).starts_with("temperature: got nan"));
  CHECK(message([](SamplingParams& p) { p.top_k = -1; }) == "top_k: got -1, expected 0 (off) or more");
  CHECK(message([](SamplingParams& p) { p.top_p = 0; }) ==
        "top_p: got 0, expected a number above 0 and up to 1");
  CHECK(message([](SamplingParams& p) { p.min_p = 1.5F; }).starts_with("min_p: got 1.5"));
  CHECK(
      message([](SamplingParams& p) { p.repetition_penalty = 0; }).starts_with("repetition_penalty: got 0"));
  CHECK(message([](SamplingParams& p) { p.presence_penalty = 3; }).starts_with("presence_penalty: got 3"));
  CHECK(
      message([](SamplingParams& p) { p.frequency_penalty = -3; }).starts_with("frequency_penalty: got -3"));
  CHECK(message([](SamplingParams& p) { p.top_logprobs = 21; }) == "top_logprobs: got 21, expected 0 to 20");
  CHECK(message([](SamplingParams& p) { p.top_logprobs = 2; }) ==
        "top_logprobs: got 2, needs logprobs: true");
  CHECK(message([](SamplingParams& p) {
          p.logit_bias = {{100, 1}};
        }) == "logit_bias: token 100 is outside the vocabulary of 100");
  CHECK(message([](SamplingParams& p) {
          p.logit_bias = {{1, 1}, {1, 2}};
        }) == "logit_bias: token 1 is given twice");
  CHECK(message([](SamplingParams& p) { p.logit_bias = {{1, 101}}; }).starts_with("logit_bias: got 101"));
}

TEST_CASE("sampling one row of 150 000 logits is quick") {
  const std::vector<float> row = random_row(150'000, 8, 10);
  Sampler sampler(150'000);
  const auto time_of = [&](const char* what, const SamplingParams& params) {
    SamplerState state;
    state.start(params, 1, {}, 100);
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < 20; ++i) sample_one(sampler, state, row);
    const double microseconds =
        std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start).count() / 20;
    MESSAGE(std::string(what) << ": " << microseconds << " us");
    CHECK(microseconds < 500'000);
  };
  time_of("greedy", with(0, 0, 1, 0));
  time_of("temperature", with(1, 0, 1, 0));
  time_of("top_k 40", with(1, 40, 1, 0));
  time_of("top_k 40, top_p 0.95", with(1, 40, 0.95F, 0));
  time_of("top_p 0.95", with(1, 0, 0.95F, 0));
  time_of("min_p 0.05", with(1, 0, 1, 0.05F));
}
