#include "engine/speculation.h"

#include <algorithm>

#include "core/error.h"
#include "engine/sequence.h"

namespace llmhost::engine {

void SpeculationOptions::validate() const {
  constexpr int32_t kMostTokens = 64;
  constexpr int32_t kMostNgram = 32;
  if (tokens < 1 || tokens > kMostTokens)
    throw_invalid("speculation: got {} tokens, expected 1 to {}", tokens, kMostTokens);
  if (ngram_min < 1 || ngram_min > ngram_max || ngram_max > kMostNgram)
    throw_invalid("speculation: got n-grams of {} to {} tokens, expected 1 <= ngram_min <= ngram_max <= {}",
                  ngram_min, ngram_max, kMostNgram);
}

void Proposals::reserve(int32_t tokens, bool with_shares) {
  most_ = limit_ = tokens;
  const auto n = static_cast<size_t>(tokens);
  tokens_.reserve(n);
  shares_end_.reserve(n);
  if (with_shares) shares_.reserve(n * kMaxShares);
}

void Proposals::push(int32_t token, std::span<const TokenShare> shares) {
  tokens_.push_back(token);
  shares_.insert(shares_.end(), shares.begin(), shares.end());
  shares_end_.push_back(shares_.size());
}

void Proposals::clear() {
  first_ = 0;
  tokens_.clear();
  shares_end_.clear();
  shares_.clear();
}

void Proposals::accept_front() {
  if (++first_ < tokens_.size()) return;
  limit_ = std::min(most_, 2 * limit_);
  all_held_ = true;
  clear();
}

void Proposals::refuse() {
  all_held_ = false;
  if (empty()) return;
  limit_ = std::min(most_, static_cast<int32_t>(first_) + 1);
  clear();
}

Proposal Proposals::front() const {
  const size_t begin = first_ == 0 ? 0 : shares_end_[first_ - 1];
  return {tokens_[first_], std::span(shares_).subspan(begin, shares_end_[first_] - begin)};
}

Proposer::Proposer(const SpeculationOptions& options) : options_(options) {
  options_.validate();
}

int32_t Proposer::room(const Sequence& sequence) const {
  return static_cast<int32_t>(
      std::min<int64_t>(sequence.proposals.limit(), sequence.max_tokens - sequence.n_output() - 1));
}

}  // namespace llmhost::engine
