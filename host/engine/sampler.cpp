#include "engine/sampler.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "engine/random.h"

namespace llmhost::engine {
namespace {

// Candidates looked at first when top_p alone decides how many count; grown eightfold until they suffice.
constexpr int64_t kFirstCandidates = 64;

// Random sequences of a request besides the one that its tokens are drawn with.
constexpr uint64_t kDraftSeed = 0xD1B54A32D192ED03U;
constexpr uint64_t kAcceptSeed = 0x8CB92BA72F3D8DD7U;

// The index at which the running sum of `weights` passes uniform * their sum.
size_t pick(std::span<const double> weights, double total, double uniform) {
  const double threshold = uniform * total;
  double sum = 0;
  size_t last = 0;  // the last that can be picked at all: rounding must not choose a weight of 0
  for (size_t i = 0; i < weights.size(); ++i) {
    if (weights[i] == 0) continue;
    sum += weights[i];
    last = i;
    if (sum > threshold) return i;
  }
  return last;
}

}  // namespace

void require_finite(std::span<const float> logits, int64_t position) {
  const int64_t bad = find_not_finite(logits);
  if (bad >= 0)
    throw_error(ErrorCode::kDataLoss,
                "the logits after position {} hold {} for token {}: the weights are damaged or the numbers "
                "overflow; check the checkpoint or use a wider dtype",
                position, logits[static_cast<size_t>(bad)], bad);
}

void SamplerState::start(const SamplingParams& params, uint64_t seed, std::span<const int32_t> prompt,
                         size_t max_output) {
  params_ = params;
  seed_ = seed;
  drawn_ = 0;
  if (!params_.uses_penalties()) return;
  counts_.reset(prompt.size() + max_output);
  for (const int32_t token : prompt) counts_.add_prompt(token);
}

void SamplerState::add_proposed(int32_t token) {
  if (params_.uses_penalties()) counts_.add_output(token);
}

void SamplerState::undo_proposed(int32_t token) {
  if (params_.uses_penalties()) counts_.undo_output(token);
}

Sampler::Sampler(int64_t vocab_size)
    : vocab_size_(vocab_size),
      row_(static_cast<size_t>(vocab_size)),
      weights_(static_cast<size_t>(vocab_size)),
      selector_(vocab_size) {}

void Sampler::sample(std::span<const float> logits, SamplerState& state, int64_t position,
                     const Proposal& proposal, Choice& choice) {
  if (static_cast<int64_t>(logits.size()) != vocab_size_)
    throw_error(ErrorCode::kInternal, "sampler: got a row of {} logits, expected {}", logits.size(),
                vocab_size_);
  require_finite(logits, position);
  const SamplingParams& params = state.params_;
  const std::span<const float> row = adjusted(logits, state);
  if (params.temperature == 0)
    choice.token = argmax(row);
  else
    choice.token = verify(distribution(row, params), proposal, state);
  ++state.drawn_;
  if (params.uses_penalties()) state.counts_.add_output(choice.token);
  fill_logprobs(logits, params, choice);
}

bool Sampler::propose(std::span<const float> logits, SamplerState& state, Proposals& proposed) {
  if (find_not_finite(logits) >= 0) return false;
  // Any distribution will do for q; the closer to what the model draws from, the more proposals hold.
  const SamplingParams& params = state.params_;
  const std::span<const int32_t> before = proposed.tokens();
  for (const int32_t token : before) state.add_proposed(token);
  const std::span<const float> row = adjusted(logits, state);
  for (size_t i = before.size(); i-- > 0;) state.undo_proposed(before[i]);
  if (params.temperature == 0) {
    proposed.push(argmax(row));
    return true;
  }
  constexpr auto kMost = static_cast<int32_t>(Proposals::kMaxShares);
  const Distribution from =
      of_largest(row, params, params.top_k == 0 ? kMost : std::min(params.top_k, kMost));
  for (size_t i = 0; i < from.size; ++i)
    shares_[i] = {candidate_token(from.candidates[i]), weights_[i] / from.total};
  const double uniform = uniform_at(state.seed_ ^ kDraftSeed, state.drawn_ + before.size());
  proposed.push(draw(from, uniform), std::span(shares_).first(from.size));
  return true;
}

// The row after bias and penalties.
std::span<const float> Sampler::adjusted(std::span<const float> logits, const SamplerState& state) {
  if (!state.params_.uses_penalties() && state.params_.logit_bias.empty()) return logits;
  std::copy(logits.begin(), logits.end(), row_.begin());
  apply_bias_and_penalties(state, row_);
  return row_;
}

void Sampler::apply_bias_and_penalties(const SamplerState& state, std::span<float> row) const {
  const SamplingParams& params = state.params_;
  for (const LogitBias& entry : params.logit_bias)
    if (entry.token < vocab_size_) row[static_cast<size_t>(entry.token)] += entry.bias;
  if (!params.uses_penalties()) return;
  for (const TokenCounts::Entry& entry : state.counts_.entries()) {
    if (entry.token < 0 || entry.token >= vocab_size_)
      continue;  // a prompt may hold ids beyond the output head
    float& logit = row[static_cast<size_t>(entry.token)];
    logit = logit > 0 ? logit / params.repetition_penalty : logit * params.repetition_penalty;
    if (entry.in_output == 0) continue;
    const float frequency = params.frequency_penalty * static_cast<float>(entry.in_output);
    logit -= frequency + params.presence_penalty;
  }
}

int32_t Sampler::draw(const Distribution& from, double uniform) const {
  const size_t index = pick(std::span(weights_).first(from.size), from.total, uniform);
  return from.candidates.empty() ? static_cast<int32_t>(index) : candidate_token(from.candidates[index]);
}

int32_t Sampler::verify(const Distribution& from, const Proposal& proposal, const SamplerState& state) {
  const double uniform = uniform_at(state.seed_, state.drawn_);
  if (proposal.shares.empty()) return draw(from, uniform);
  const double accept = uniform_at(state.seed_ ^ kAcceptSeed, state.drawn_);
  // Weights become max(0, p - q), unnormalised, unless the proposal holds.
  const auto index_of = [&](int32_t token) {
    if (from.candidates.empty()) return static_cast<size_t>(token);
    const auto is_it = [token](Candidate candidate) { return candidate_token(candidate) == token; };
    return static_cast<size_t>(std::find_if(from.candidates.begin(), from.candidates.end(), is_it) -
                               from.candidates.begin());
  };
  const auto q = std::find_if(proposal.shares.begin(), proposal.shares.end(),
                              [&](const TokenShare& share) { return share.token == proposal.token; });
  const size_t proposed = index_of(proposal.token);
  const double weight = proposed < from.size ? weights_[proposed] : 0;
  if (accept * q->share * from.total < weight) return proposal.token;
  Distribution rest = from;
  for (const TokenShare& share : proposal.shares) {
    const size_t index = index_of(share.token);
    if (index < from.size) weights_[index] = std::max(0.0, weights_[index] - share.share * from.total);
  }
  rest.total = 0;
  for (size_t i = 0; i < from.size; ++i) rest.total += weights_[i];
  return draw(rest, uniform);
}

Sampler::Distribution Sampler::distribution(std::span<const float> row, const SamplingParams& params) {
  const bool takes_all = params.top_k == 0 && params.top_p == 1 && params.min_p == 0;
  return takes_all ? of_all(row, params.temperature) : of_largest(row, params, params.top_k);
}

Sampler::Distribution Sampler::of_all(std::span<const float> row, double temperature) {
  exp_row(row, row[static_cast<size_t>(argmax(row))], 1 / temperature, weights_.data());
  double total = 0;
  for (const double weight : weights_) total += weight;
  return {{}, row.size(), total};
}

Sampler::Distribution Sampler::of_largest(std::span<const float> row, const SamplingParams& params,
                                          int32_t top_k) {
  const auto vocab = static_cast<int64_t>(row.size());
  const int64_t limit = top_k > 0 ? std::min<int64_t>(top_k, vocab) : vocab;
  const double largest = row[static_cast<size_t>(argmax(row))];
  // The share that top_p goes by is that of what top_k left; without top_k, of the whole row.
  const double inverse_temperature = 1 / static_cast<double>(params.temperature);
  double total = 0;
  if (top_k == 0 && params.top_p < 1) total = sum_exp(row, largest, inverse_temperature);
  int64_t n = top_k > 0 ? limit : std::min(kFirstCandidates, vocab);
  std::span<const Candidate> candidates;
  size_t kept = 0;
  for (;; n = std::min(limit, n * 8)) {
    candidates = selector_.largest(row, n);
    double sum = 0;
    for (size_t i = 0; i < candidates.size(); ++i) {
      const double logit = candidate_logit(candidates[i]);
      weights_[i] = exp_nonpositive((logit - largest) * inverse_temperature);
      sum += weights_[i];
    }
    if (top_k > 0) total = sum;
    kept = cut(candidates, params, total);
    if (n == limit || kept < candidates.size()) break;
  }
  double sum = 0;
  for (size_t i = 0; i < kept; ++i) sum += weights_[i];
  return {candidates.first(kept), kept, sum};
}

// How many of the candidates, whose weights are in weights_, top_p and min_p leave; at least 1.
size_t Sampler::cut(std::span<const Candidate> candidates, const SamplingParams& params, double total) {
  size_t kept = candidates.size();
  if (params.top_p < 1) {
    const double enough = static_cast<double>(params.top_p) * total;
    double sum = 0;
    for (size_t i = 0; i < kept; ++i) {
      sum += weights_[i];
      if (sum >= enough) kept = i + 1;
    }
  }
  // The largest has weight 1, so a weight is its ratio to the largest.
  while (kept > 1 && weights_[kept - 1] < static_cast<double>(params.min_p)) --kept;
  return kept;
}

void Sampler::fill_logprobs(std::span<const float> logits, const SamplingParams& params, Choice& choice) {
  choice.has_logprob = params.logprobs;
  choice.n_top = 0;
  if (!params.logprobs) return;
  const double normaliser = log_sum_exp(logits);
  choice.logprob = static_cast<double>(logits[static_cast<size_t>(choice.token)]) - normaliser;
  if (params.top_logprobs == 0) return;
  for (const Candidate candidate : selector_.largest(logits, params.top_logprobs)) {
    const double logprob = static_cast<double>(candidate_logit(candidate)) - normaliser;
    choice.top[static_cast<size_t>(choice.n_top++)] = {candidate_token(candidate), logprob};
  }
}

}  // namespace llmhost::engine
