#include "engine/block_sums.h"

#include <algorithm>
#include <array>

#include "engine/selection.h"

namespace llmhost::engine {
namespace {

// No computed sum of a block is more than this times its maximum's computed weight: the weights are right to
// 2e-5 and the 20 additions that a value goes through round by 6e-8 each. A maximum that weighs 0 is below
// what exp_values takes for 0, as is the rest of its block: the sum is 0 then.
constexpr float kMostOfMaximum = static_cast<float>(LogitRow::kBlock) * 1.0001F;

}  // namespace

BlockSums::BlockSums(int64_t vocab_size)
    : least_(static_cast<size_t>((vocab_size + LogitRow::kBlock - 1) / LogitRow::kBlock)),
      most_(least_.size()) {}

void BlockSums::assign(const LogitRow& row, float inverse_temperature) {
  row_ = &row;
  inverse_temperature_ = inverse_temperature;
  n_bounded_ = 0;
  bound_by_maxima();
  // The maxima alone are a part of the total, so that the limit is on the safe side.
  float maxima = 0;
  for (const float most : most_) maxima += most;
  const float limit =
      maxima / kMostOfMaximum * kBoundedShare / static_cast<float>(std::max<int64_t>(row.n_blocks(), 1));
  for (int64_t i = 0; i < row.n_blocks(); ++i) {
    const float most = most_[static_cast<size_t>(i)];
    if (most > limit) {
      sum_block(i);
    } else {
      least_[static_cast<size_t>(i)] = 0;
      if (most > 0) ++n_bounded_;
    }
  }
  add_up();
}

void BlockSums::complete() {
  for (int64_t i = 0; i < row_->n_blocks() && n_bounded_ > 0; ++i) {
    if (least(i) == most(i)) continue;
    sum_block(i);
    --n_bounded_;
  }
  add_up();
}

void BlockSums::take_off(int64_t block, double weight) {
  float& sum = least_[static_cast<size_t>(block)];
  sum -= static_cast<float>(weight);
  most_[static_cast<size_t>(block)] = sum;
}

void BlockSums::bound_by_maxima() {
  const std::span<const float> maxima = row_->block_maxima();
  std::array<float, LogitRow::kBlock> weights{};
  for (size_t begin = 0; begin < maxima.size(); begin += weights.size()) {
    const size_t n = std::min(weights.size(), maxima.size() - begin);
    exp_values(maxima.subspan(begin, n), row_->largest(), inverse_temperature_, weights);
    for (size_t i = 0; i < n; ++i) most_[begin + i] = weights[i] * kMostOfMaximum;
  }
}

void BlockSums::sum_block(int64_t block) {
  const float sum = exp_sum(row_->block(block), row_->largest(), inverse_temperature_);
  least_[static_cast<size_t>(block)] = sum;
  most_[static_cast<size_t>(block)] = sum;
}

void BlockSums::add_up() {
  least_total_ = 0;
  most_total_ = 0;
  for (int64_t i = 0; i < row_->n_blocks(); ++i) {
    least_total_ += least(i);
    most_total_ += most(i);
  }
}

}  // namespace llmhost::engine
