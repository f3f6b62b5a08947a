// Proposals with a distribution: what is chosen is distributed as without them. And the parts of the sampler
// that large rows go through.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <random>
#include <vector>

#include "engine/sampler.h"
#include "engine/sampler_reference.h"

using namespace llmhost::engine;
using llmhost::test::chi_square_bound;
using llmhost::test::random_row;
using llmhost::test::reference_distribution;
using llmhost::test::with;

namespace {

struct ChiSquare {
  double value = 0;
  int freedom = -1;
};

// Seeds are fixed: a right sampler would be refused here once in a thousand times, for ever or never.
void check_distribution(const std::vector<int>& counts, const std::vector<double>& expected) {
  int draws = 0;
  for (const int count : counts) draws += count;
  ChiSquare chi;
  double rare = 0;  // tokens too rare for the approximation by chi-square, together
  int rare_count = 0;
  for (size_t i = 0; i < counts.size(); ++i) {
    const double mean = expected[i] * draws;
    if (expected[i] == 0) REQUIRE(counts[i] == 0);
    if (mean < 5) {
      rare += mean;
      rare_count += counts[i];
      continue;
    }
    chi.value += (counts[i] - mean) * (counts[i] - mean) / mean;
    ++chi.freedom;
  }
  if (rare >= 5) {
    chi.value += (rare_count - rare) * (rare_count - rare) / rare;
    ++chi.freedom;
  }
  REQUIRE(chi.freedom > 1);
  CHECK(chi.value < chi_square_bound(chi.freedom));
}

// Draws with one seed each, the token proposed from `draft`, or nothing proposed when it is empty.
std::vector<int> draw(const SamplingParams& params, const std::vector<float>& row,
                      const std::vector<float>& draft, int draws, int& accepted) {
  Sampler sampler(static_cast<int64_t>(row.size()));
  SamplerState state;
  Proposals proposals;
  proposals.reserve(1, true);
  const std::vector<int32_t> prompt = {1, 2, 2};
  std::vector<int> counts(row.size(), 0);
  Choice choice;
  accepted = 0;
  for (int i = 0; i < draws; ++i) {
    state.start(params, static_cast<uint64_t>(i), prompt, 2);
    proposals.refuse();
    if (!draft.empty()) REQUIRE(sampler.propose(draft, state, proposals));
    const Proposal proposal = proposals.empty() ? Proposal{} : proposals.front();
    sampler.sample(row, state, 0, proposal, choice);
    ++counts[static_cast<size_t>(choice.token)];
    if (choice.token == proposal.token) ++accepted;
  }
  return counts;
}

}  // namespace

TEST_CASE("a token that was proposed, kept or drawn again, follows the model's distribution") {
  constexpr int kDraws = 20'000;
  const std::vector<float> row = random_row(9, 1, 2);
  std::vector<float> near = row;
  const std::vector<float> noise = random_row(9, 2, 0.5F);
  for (size_t i = 0; i < near.size(); ++i) near[i] += noise[i];
  const std::vector<float> far = random_row(9, 3, 2);
  for (const SamplingParams& params :
       {with(1, 0, 1, 0), with(0.7F, 0, 1, 0), with(1, 4, 1, 0), with(1, 0, 0.8F, 0),
        with(1.3F, 6, 0.9F, 0.05F), with(1, 0, 1, 0.2F)}) {
    const std::vector<double> expected = reference_distribution(row, params);
    int near_accepted = 0;
    int far_accepted = 0;
    check_distribution(draw(params, row, near, kDraws, near_accepted), expected);
    check_distribution(draw(params, row, far, kDraws, far_accepted), expected);
    CHECK(near_accepted > far_accepted);
    CHECK(far_accepted > 0);
  }
}

TEST_CASE("a proposal from the model's own distribution is always kept") {
  const std::vector<float> row = random_row(30, 1, 2);
  int accepted = 0;
  draw(with(0.8F, 10, 0.9F, 0.01F), row, row, 2000, accepted);
  CHECK(accepted == 2000);
}

TEST_CASE("with bias and penalties the distribution is theirs") {
  std::vector<float> row = random_row(9, 4, 2);
  SamplingParams params = with(1, 0, 0.95F, 0);
  params.repetition_penalty = 1.5F;
  params.logit_bias = {{4, 1.5F}};
  std::vector<float> adjusted = row;
  adjusted[4] += 1.5F;
  for (const size_t seen : {size_t{1}, size_t{2}})
    adjusted[seen] = adjusted[seen] > 0 ? adjusted[seen] / 1.5F : adjusted[seen] * 1.5F;
  int accepted = 0;
  check_distribution(draw(params, row, random_row(9, 5, 2), 20'000, accepted),
                     reference_distribution(adjusted, with(1, 0, 0.95F, 0)));
  CHECK(accepted > 1000);
}

TEST_CASE("rows of many blocks follow the distribution, plainly and with proposals") {
  std::vector<float> row = random_row(1500, 7, 3);
  for (size_t i = 0; i < row.size(); i += 97) row[i] += 4;
  for (const SamplingParams& params : {with(0.8F, 0, 1, 0), with(1, 0, 0.9F, 0), with(1, 300, 1, 0.01F)}) {
    const std::vector<double> expected = reference_distribution(row, params);
    int accepted = 0;
    check_distribution(draw(params, row, {}, 8'000, accepted), expected);
    check_distribution(draw(params, row, random_row(1500, 8, 5), 8'000, accepted), expected);
  }
}

TEST_CASE("a draft row that is not finite proposes nothing") {
  std::vector<float> row = random_row(300, 1);
  row[290] = std::nanf("");
  Sampler sampler(300);
  SamplerState state;
  state.start(SamplingParams{}, 1, {}, 10);
  Proposals proposals;
  CHECK(!sampler.propose(row, state, proposals));
  CHECK(proposals.empty());
}

TEST_CASE("an edited row answers like the edited values") {
  std::mt19937 random(3);
  for (const size_t n : {size_t{1}, size_t{255}, size_t{256}, size_t{257}, size_t{1000}, size_t{2048}}) {
    LogitRow row(static_cast<int64_t>(n));
    for (int round = 0; round < 5; ++round) {
      std::vector<float> values = random_row(n, static_cast<uint32_t>(random()));
      const std::vector<float> original = values;
      REQUIRE(row.assign(original));
      for (auto edits = random() % 20; edits > 0; --edits) {
        const size_t at = random() % n;
        values[at] = static_cast<float>(random() % 100) - 50;
        row.edit(static_cast<int32_t>(at)) = values[at];
      }
      row.finish_edits();
      const auto best = std::max_element(values.begin(), values.end());
      CHECK(row.largest() == *best);
      CHECK(row.argmax() == best - values.begin());
      for (size_t i = 0; i < n; ++i) REQUIRE(row[static_cast<int32_t>(i)] == values[i]);
    }
  }
}

TEST_CASE("exponentials in single precision are as near as they say") {
  std::array<float, LogitRow::kBlock> out{};
  for (float x = 0; x > -80; x -= 0.0137F) {
    for (const float inverse_temperature : {1.0F, 1.7F}) {
      const float value = 3.25F + x;
      exp_values(std::span(&value, 1), 3.25F, inverse_temperature, out);
      const double expected = std::exp((static_cast<double>(value) - 3.25) * inverse_temperature);
      if (expected < 1e-35) continue;
      REQUIRE(std::abs(static_cast<double>(out[0]) - expected) <= (expected > 1e-4 ? 2e-6 : 2e-5) * expected);
    }
  }
  const float tiny = -200;
  exp_values(std::span(&tiny, 1), 0, 1, out);
  CHECK(out[0] == 0);
  CHECK(out[1] == 0);
}

TEST_CASE("counts that are taken back leave the table as it was") {
  TokenCounts counts;
  counts.reset(40);
  for (const int32_t token : {3, 5, 3}) counts.add_prompt(token);
  counts.add_output(7);
  std::mt19937 random(1);
  for (int round = 0; round < 100; ++round) {
    std::vector<int32_t> proposed;
    for (int i = 0; i < 8; ++i) proposed.push_back(static_cast<int32_t>(random() % 30));
    for (const int32_t token : proposed) counts.add_output(token);
    for (size_t i = proposed.size(); i-- > 0;) counts.undo_output(proposed[i]);
    REQUIRE(counts.entries().size() == 3);
    CHECK(counts.entries()[0].in_output == 0);
    CHECK(counts.entries()[2].token == 7);
    CHECK(counts.entries()[2].in_output == 1);
  }
}
