// Draws and cuts that go by bounds of small blocks are those that the sums themselves give: the same tokens
// as a draw that reads every block. On rows where nothing, nearly all, or just about something can be left
// out.
#include "engine/block_sums.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <random>
#include <vector>

#include "engine/random.h"
#include "engine/sampler.h"
#include "engine/sampler_reference.h"

using namespace llmhost::engine;
using llmhost::test::random_row;
using llmhost::test::reference_distribution;
using llmhost::test::with;

namespace {

constexpr int64_t kBlocks = 64;
constexpr size_t kRow = static_cast<size_t>(kBlocks * LogitRow::kBlock);

// A few tokens above a mass that lies `depth` below them.
std::vector<float> peaked_row(uint32_t seed, float depth) {
  std::vector<float> row = random_row(kRow + 7, seed, 2);
  std::mt19937 random(seed);
  for (int rank = 1; rank <= 40; ++rank)
    row[random() % row.size()] = depth - 1.5F * std::log(static_cast<float>(rank));
  return row;
}

// Blocks of equal values, so that the bound of a block is reached: each weighs kBlock times its maximum. They
// weigh, one a little less and one a little more, what divides blocks that are summed from others.
std::vector<float> row_at_the_bound() {
  std::vector<float> row(kRow, 0);
  const auto limit = std::log(BlockSums::kBoundedShare / static_cast<float>(kBlocks * LogitRow::kBlock));
  for (size_t i = 1; i < row.size(); ++i) {
    const auto block = static_cast<int>(i / LogitRow::kBlock);
    row[i] = i < LogitRow::kBlock ? -60.0F : limit + 2e-5F * static_cast<float>(block - 32);
  }
  return row;
}

// The token drawn from the whole row when all is summed, block by block, as drawing without bounds does it.
int32_t plain_draw(const std::vector<float>& row, float inverse_temperature, double uniform) {
  const float largest = *std::max_element(row.begin(), row.end());
  const auto block = [&](size_t begin) {
    return std::span(row).subspan(begin, std::min<size_t>(LogitRow::kBlock, row.size() - begin));
  };
  double total = 0;
  for (size_t at = 0; at < row.size(); at += LogitRow::kBlock)
    total += static_cast<double>(exp_sum(block(at), largest, inverse_temperature));
  const double threshold = uniform * total;
  double before = 0;
  for (size_t at = 0; at < row.size(); at += LogitRow::kBlock) {
    const auto sum = static_cast<double>(exp_sum(block(at), largest, inverse_temperature));
    if (sum <= 0 || (before + sum <= threshold && at + LogitRow::kBlock < row.size())) {
      before += sum;
      continue;
    }
    std::array<float, LogitRow::kBlock> weights{};
    exp_values(block(at), largest, inverse_temperature, weights);
    double inside = 0;
    size_t last = 0;
    for (size_t i = 0; i < block(at).size(); ++i) {
      if (weights[i] == 0) continue;
      inside += static_cast<double>(weights[i]);
      last = i;
      if (inside > threshold - before) break;
    }
    return static_cast<int32_t>(at + last);
  }
  return -1;
}

void check_draws(const std::vector<float>& row, float temperature) {
  Sampler sampler(static_cast<int64_t>(row.size()));
  SamplerState state;
  state.start(with(temperature, 0, 1, 0), 77, {}, 300);
  Choice choice;
  const auto inverse = static_cast<float>(1 / static_cast<double>(temperature));
  for (uint64_t i = 0; i < 300; ++i) {
    sampler.sample(row, state, 0, choice);
    REQUIRE(choice.token == plain_draw(row, inverse, uniform_at(77, i)));
  }
}

// Every token drawn is of the reference's kept set, and every kept token of some weight is drawn.
void check_kept_set(const std::vector<float>& row, float top_p) {
  const SamplingParams params = with(1, 0, top_p, 0);
  const std::vector<double> expected = reference_distribution(row, params);
  std::vector<int> counts(row.size(), 0);
  Sampler sampler(static_cast<int64_t>(row.size()));
  SamplerState state;
  state.start(params, 5, {}, 1000);
  Choice choice;
  for (int i = 0; i < 60; ++i) {
    sampler.sample(row, state, 0, choice);
    ++counts[static_cast<size_t>(choice.token)];
  }
  for (size_t i = 0; i < row.size(); ++i) {
    if (expected[i] == 0) REQUIRE(counts[i] == 0);
    if (expected[i] > 0.2) REQUIRE(counts[i] > 0);
  }
}

int64_t n_bounded(const std::vector<float>& row) {
  LogitRow scanned(static_cast<int64_t>(row.size()));
  REQUIRE(scanned.assign(row));
  BlockSums sums(scanned.size());
  sums.assign(scanned, 1);
  return sums.n_bounded();
}

}  // namespace

TEST_CASE("bounds hold for every block and completing them gives the sums") {
  const std::vector<std::vector<float>> rows = {row_at_the_bound(), peaked_row(1, 8), peaked_row(2, 16),
                                                random_row(kRow, 3, 0.1F)};
  for (const std::vector<float>& row : rows) {
    LogitRow scanned(static_cast<int64_t>(row.size()));
    REQUIRE(scanned.assign(row));
    BlockSums sums(scanned.size());
    for (const float inverse_temperature : {0.3F, 1.0F, 2.5F, 1e30F}) {
      sums.assign(scanned, inverse_temperature);
      const double least_total = sums.least_total();
      const double most_total = sums.most_total();
      BlockSums exact(scanned.size());
      exact.assign(scanned, inverse_temperature);
      exact.complete();
      REQUIRE(exact.is_exact());
      for (int64_t i = 0; i < scanned.n_blocks(); ++i) {
        const auto sum =
            static_cast<double>(exp_sum(scanned.block(i), scanned.largest(), inverse_temperature));
        REQUIRE(exact.least(i) == sum);
        REQUIRE(exact.most(i) == sum);
        REQUIRE(sums.least(i) <= sum);
        REQUIRE(sums.most(i) >= sum);
      }
      CHECK(least_total <= exact.least_total());
      CHECK(most_total >= exact.most_total());
      CHECK(most_total - least_total <= BlockSums::kBoundedShare * exact.least_total());
    }
  }
}

TEST_CASE("a draw by bounds is the draw by all sums") {
  const std::vector<float> at_the_bound = row_at_the_bound();
  const std::vector<float> flat = random_row(kRow, 4, 0.1F);
  CHECK(n_bounded(flat) == 0);
  CHECK(n_bounded(at_the_bound) > 10);
  CHECK(n_bounded(at_the_bound) < kBlocks - 10);
  CHECK(n_bounded(peaked_row(1, 20)) > 20);
  check_draws(flat, 1);
  check_draws(at_the_bound, 1);
  for (uint32_t seed = 1; seed <= 6; ++seed)
    for (const float depth : {6.0F, 11.0F, 20.0F}) check_draws(peaked_row(seed, depth), 0.9F);
}

TEST_CASE("a cut by bounds is the cut by all sums") {
  check_kept_set(random_row(kRow, 4, 0.1F), 0.9F);
  check_kept_set(row_at_the_bound(), 0.99F);
  for (uint32_t seed = 1; seed <= 3; ++seed)
    for (const float depth : {6.0F, 11.0F, 20.0F})
      for (const float top_p : {0.5F, 0.95F, 0.999F}) check_kept_set(peaked_row(seed, depth), top_p);
}
