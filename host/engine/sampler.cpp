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

// 1 / temperature, not so large that a difference of 0 becomes NaN.
double inverse(float temperature) {
  return std::min(1 / static_cast<double>(temperature), 1e30);
}

// draw_from_row(): the bounds of the sums leave more than one token.
constexpr int32_t kUncertain = -1;

// The index at which the running sum of `weights` passes the threshold, the last that is not 0 when rounding
// keeps it below; the size when all are 0.
size_t pick(std::span<const double> weights, double threshold) {
  double sum = 0;
  size_t last = weights.size();
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
      mask_(static_cast<size_t>((vocab_size + 63) / 64)),
      row_(vocab_size),
      sums_(vocab_size),
      weights_(static_cast<size_t>(vocab_size)),
      selector_(vocab_size) {}

void Sampler::sample(std::span<const float> logits, SamplerState& state, int64_t position,
                     const Proposal& proposal, TokenConstraint* constraint, Choice& choice) {
  if (static_cast<int64_t>(logits.size()) != vocab_size_)
    throw_error(ErrorCode::kInternal, "sampler: got a row of {} logits, expected {}", logits.size(),
                vocab_size_);
  if (!assign(logits, state)) require_finite(logits, position);
  if (constraint != nullptr) constrain(*constraint);
  const SamplingParams& params = state.params_;
  choice.token = params.temperature == 0 ? row_.argmax() : verify(distribution(params), proposal, state);
  ++state.drawn_;
  if (params.uses_penalties()) state.counts_.add_output(choice.token);
  const bool is_edited = params.uses_penalties() || !params.logit_bias.empty() || constraint != nullptr;
  fill_logprobs(logits, params, is_edited, choice);
}

void Sampler::constrain(TokenConstraint& constraint) {
  std::fill(mask_.begin(), mask_.end(), 0);
  constraint.allowed(mask_);
  if (vocab_size_ % 64 != 0) mask_.back() &= (uint64_t{1} << (vocab_size_ % 64)) - 1;
  if (std::all_of(mask_.begin(), mask_.end(), [](uint64_t word) { return word == 0; }))
    throw_error(ErrorCode::kFailedPrecondition,
                "the grammar allows none of the model's tokens here; its text cannot be written with them");
  row_.keep_only(mask_);
}

bool Sampler::propose(std::span<const float> logits, SamplerState& state, Proposals& proposed) {
  const std::span<const int32_t> before = proposed.tokens();
  for (const int32_t token : before) state.add_proposed(token);
  const bool is_finite = assign(logits, state);
  for (size_t i = before.size(); i-- > 0;) state.undo_proposed(before[i]);
  if (!is_finite) return false;
  const SamplingParams& params = state.params_;
  if (params.temperature == 0) {
    proposed.push(row_.argmax());
    return true;
  }
  // Any distribution will do for q; the closer to what the model draws from, the more proposals hold.
  constexpr auto kMost = static_cast<int32_t>(Proposals::kMaxShares);
  const Distribution from = of_largest(params, params.top_k == 0 ? kMost : std::min(params.top_k, kMost));
  const size_t n = from.candidates.size();
  for (size_t i = 0; i < n; ++i) shares_[i] = {candidate_token(from.candidates[i]), weights_[i] / from.total};
  const double uniform = uniform_at(state.seed_ ^ kDraftSeed, state.drawn_ + before.size());
  proposed.push(draw(from, uniform), std::span(shares_).first(n));
  return true;
}

// Takes the row with bias and penalties; false when it is not finite.
bool Sampler::assign(std::span<const float> logits, const SamplerState& state) {
  if (!row_.assign(logits)) return false;
  if (!state.params_.uses_penalties() && state.params_.logit_bias.empty()) return true;
  apply_bias_and_penalties(state);
  row_.finish_edits();
  return true;
}

void Sampler::apply_bias_and_penalties(const SamplerState& state) {
  const SamplingParams& params = state.params_;
  for (const LogitBias& entry : params.logit_bias)
    if (entry.token < vocab_size_) row_.edit(entry.token) += entry.bias;
  if (!params.uses_penalties()) return;
  for (const TokenCounts::Entry& entry : state.counts_.entries()) {
    if (entry.token < 0 || entry.token >= vocab_size_)
      continue;  // a prompt may hold ids beyond the output head
    float& logit = row_.edit(entry.token);
    logit = logit > 0 ? logit / params.repetition_penalty : logit * params.repetition_penalty;
    if (entry.in_output == 0) continue;
    const float frequency = params.frequency_penalty * static_cast<float>(entry.in_output);
    logit -= frequency + params.presence_penalty;
  }
}

Sampler::Distribution Sampler::distribution(const SamplingParams& params) {
  const bool takes_all = params.top_k == 0 && params.top_p == 1 && params.min_p == 0;
  return takes_all ? of_all(params) : of_largest(params, params.top_k);
}

Sampler::Distribution Sampler::of_all(const SamplingParams& params) {
  inverse_temperature_ = static_cast<float>(inverse(params.temperature));
  n_taken_ = 0;
  sums_.assign(row_, inverse_temperature_);
  return {{}, sums_.least_total(), sums_.most_total()};
}

Sampler::Distribution Sampler::of_largest(const SamplingParams& params, int32_t top_k) {
  const int64_t limit = top_k > 0 ? std::min<int64_t>(top_k, vocab_size_) : vocab_size_;
  // The share that top_p goes by is that of what top_k left; without top_k, of the whole row.
  const double inverse_temperature = inverse(params.temperature);
  const bool is_share_of_row = top_k == 0 && params.top_p < 1;
  if (is_share_of_row) sums_.assign(row_, static_cast<float>(inverse_temperature));
  int64_t n = top_k > 0 ? limit : std::min(kFirstCandidates, limit);
  std::span<const Candidate> candidates;
  size_t kept = 0;
  for (;; n = std::min(limit, n * 8)) {
    candidates = selector_.largest(row_, n);
    double sum = 0;
    for (size_t i = 0; i < candidates.size(); ++i) {
      const double below = static_cast<double>(candidate_logit(candidates[i])) - row_.largest();
      weights_[i] = exp_nonpositive(below * inverse_temperature);
      sum += weights_[i];
    }
    kept = is_share_of_row ? cut_by_bounds(params, candidates.size()) : cut(params, candidates.size(), sum);
    if (n == limit || kept < candidates.size()) break;
  }
  double sum = 0;
  for (size_t i = 0; i < kept; ++i) sum += weights_[i];
  return {candidates.first(kept), sum, sum};
}

// How many of the n candidates, whose weights are in weights_, top_p and min_p leave; at least 1.
size_t Sampler::cut(const SamplingParams& params, size_t n, double total) const {
  size_t kept = n;
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

// The same by the whole row's total, of which no more is computed than decides it.
size_t Sampler::cut_by_bounds(const SamplingParams& params, size_t n) {
  const size_t kept = cut(params, n, sums_.least_total());
  if (sums_.is_exact() || kept == cut(params, n, sums_.most_total())) return kept;
  sums_.complete();
  return cut(params, n, sums_.least_total());
}

int32_t Sampler::draw(const Distribution& from, double uniform) {
  if (from.candidates.empty()) {
    const int32_t token = draw_from_row(uniform * from.total, uniform * from.most_total);
    if (token != kUncertain) return token;
    sums_.complete();
    return draw_from_row(uniform * sums_.least_total(), uniform * sums_.least_total());
  }
  const size_t n = from.candidates.size();
  return candidate_token(
      from.candidates[std::min(pick(std::span(weights_).first(n), uniform * from.total), n - 1)]);
}

// The block in which the running sum passes the threshold, then the token in it: for all thresholds and all
// sums within their bounds, else kUncertain.
int32_t Sampler::draw_from_row(double least_threshold, double most_threshold) const {
  double least_before = 0;
  double most_before = 0;
  for (int64_t block = 0; block < row_.n_blocks(); ++block) {
    const double least = sums_.least(block);
    const double most = sums_.most(block);
    const bool is_last = block + 1 == row_.n_blocks();
    if (most <= 0) continue;
    if (most_before + most <= least_threshold && !is_last) {
      least_before += least;
      most_before += most;
      continue;
    }
    if (least < most || (least_before + least <= most_threshold && !is_last)) return kUncertain;
    std::array<double, LogitRow::kBlock> space{};
    const std::span<const double> weights = block_weights(block, space);
    const size_t index = pick(weights, least_threshold - most_before);
    if (index != pick(weights, most_threshold - least_before)) return kUncertain;
    if (index == weights.size()) continue;
    return static_cast<int32_t>(block * LogitRow::kBlock + static_cast<int64_t>(index));
  }
  return row_.argmax();  // when all is rounded away
}

// Weights of the whole row, without what take_off() took.
std::span<const double> Sampler::block_weights(int64_t block, std::span<double> out) const {
  std::array<float, LogitRow::kBlock> weights{};
  const std::span<const float> values = row_.block(block);
  exp_values(values, row_.largest(), inverse_temperature_, weights);
  std::copy(weights.begin(), weights.end(), out.begin());
  for (const TokenShare& taken : std::span(taken_).first(n_taken_))
    if (taken.token / LogitRow::kBlock == block) {
      double& weight = out[static_cast<size_t>(taken.token % LogitRow::kBlock)];
      weight = std::max(0.0, weight - taken.share);
    }
  return out.first(values.size());
}

int32_t Sampler::verify(Distribution from, const Proposal& proposal, const SamplerState& state) {
  const double uniform = uniform_at(state.seed_, state.drawn_);
  if (proposal.shares.empty()) return draw(from, uniform);
  if (from.candidates.empty()) {
    sums_.complete();
    from.total = from.most_total = sums_.least_total();
  }
  const auto q = std::find_if(proposal.shares.begin(), proposal.shares.end(),
                              [&](const TokenShare& share) { return share.token == proposal.token; });
  const double accept = uniform_at(state.seed_ ^ kAcceptSeed, state.drawn_);
  if (accept * q->share * from.total < weight_of(from, proposal.token)) return proposal.token;
  take_off(from, proposal.shares);
  return draw(from, uniform);
}

double Sampler::weight_of(const Distribution& from, int32_t token) const {
  if (from.candidates.empty()) {
    std::array<float, LogitRow::kBlock> weights{};
    const float logit = row_[token];
    exp_values(std::span(&logit, 1), row_.largest(), inverse_temperature_, weights);
    return static_cast<double>(weights[0]);
  }
  for (size_t i = 0; i < from.candidates.size(); ++i)
    if (candidate_token(from.candidates[i]) == token) return weights_[i];
  return 0;
}

// Weights become max(0, p - q) times the old total.
void Sampler::take_off(Distribution& from, std::span<const TokenShare> shares) {
  const double total = from.total;
  for (const TokenShare& share : shares) {
    const double taken = std::min(weight_of(from, share.token), share.share * total);
    from.total -= taken;
    from.most_total = from.total;
    if (from.candidates.empty()) {
      taken_[n_taken_++] = {share.token, taken};
      sums_.take_off(share.token / LogitRow::kBlock, taken);
    }
    for (size_t i = 0; i < from.candidates.size(); ++i)
      if (candidate_token(from.candidates[i]) == share.token) weights_[i] -= taken;
  }
}

void Sampler::fill_logprobs(std::span<const float> logits, const SamplingParams& params, bool is_edited,
                            Choice& choice) {
  choice.has_logprob = params.logprobs;
  choice.n_top = 0;
  if (!params.logprobs) return;
  if (is_edited) row_.assign(logits);  // as they were
  const double normaliser = log_sum_exp(logits, static_cast<double>(row_.largest()));
  choice.logprob = static_cast<double>(logits[static_cast<size_t>(choice.token)]) - normaliser;
  if (params.top_logprobs == 0) return;
  for (const Candidate candidate : selector_.largest(row_, params.top_logprobs)) {
    const double logprob = static_cast<double>(candidate_logit(candidate)) - normaliser;
    choice.top[static_cast<size_t>(choice.n_top++)] = {candidate_token(candidate), logprob};
  }
}

}  // namespace llmhost::engine
