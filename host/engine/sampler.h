// Chooses tokens from rows of logits; sampling_params.h has the chain. One Sampler serves all sequences of an
// engine (it holds workspace only); what belongs to a sequence is in its SamplerState. A choice depends on
// the row, the parameters, the sequence's tokens and the number of tokens drawn so far, never on neighbours
// in the batch. No allocation after construction and SamplerState::start.
//
// Proposals of a draft model are verified by rejection sampling (Leviathan et al. 2023, Chen et al. 2023):
// with p what the chain gives here and q what the proposal x was drawn from, x is kept with probability
// min(1, p(x) / q(x)), else a token is drawn from max(0, p - q): together that is a draw from p. A guess
// without q would be kept with probability p(x), else drawn again from the rest: the same as one draw that
// happens to be x or not, so that such guesses change no seeded output at all.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "engine/block_sums.h"
#include "engine/logit_row.h"
#include "engine/sampling_params.h"
#include "engine/selection.h"
#include "engine/speculation.h"
#include "engine/token_constraint.h"
#include "engine/token_counts.h"

namespace llmhost::engine {

struct TokenLogprob {
  int32_t token = 0;
  double logprob = 0;
};

struct Choice {
  int32_t token = 0;
  bool has_logprob = false;
  double logprob = 0;
  int32_t n_top = 0;
  std::array<TokenLogprob, SamplingParams::kMaxTopLogprobs> top;  // [n_top], most likely first
};

// What sampling keeps of one sequence.
class SamplerState {
 public:
  // `params` must be validated. `max_output` is the most tokens that will be drawn.
  void start(const SamplingParams& params, uint64_t seed, std::span<const int32_t> prompt, size_t max_output);

  const SamplingParams& params() const { return params_; }
  uint64_t seed() const { return seed_; }

 private:
  friend class Sampler;

  // Counts a proposed token as if it stood in the output, and takes the last one back.
  void add_proposed(int32_t token);
  void undo_proposed(int32_t token);

  SamplingParams params_;
  uint64_t seed_ = 0;
  uint64_t drawn_ = 0;
  TokenCounts counts_;  // filled only when penalties are on
};

// Throws kDataLoss for a row with a NaN or an infinity, naming `position`, the position of the token that the
// row follows.
void require_finite(std::span<const float> logits, int64_t position);

class Sampler {
 public:
  explicit Sampler(int64_t vocab_size);

  // The next token of the sequence, counted in its state. `position` as in require_finite, which it calls.
  // The proposal holds when the chosen token is its token.
  void sample(std::span<const float> logits, SamplerState& state, int64_t position, const Proposal& proposal,
              Choice& choice) {
    sample(logits, state, position, proposal, nullptr, choice);
  }
  // What the constraint, if there is one, does not allow has a logit of -infinity after biases and penalties.
  // Throws kFailedPrecondition when it allows nothing.
  void sample(std::span<const float> logits, SamplerState& state, int64_t position, const Proposal& proposal,
              TokenConstraint* constraint, Choice& choice);
  void sample(std::span<const float> logits, SamplerState& state, int64_t position, Choice& choice) {
    sample(logits, state, position, Proposal{}, choice);
  }

  // Proposes the token after `proposed`, which follow the sequence's text, from a draft model's row: by the
  // same chain, from the most probable tokens. False, with nothing proposed, for a row that is not finite.
  bool propose(std::span<const float> logits, SamplerState& state, Proposals& proposed);

 private:
  // What a token is drawn from: the candidates, whose weights are in weights_, or the whole row when there
  // are none, the sums of whose blocks are in sums_, with the total between these bounds.
  struct Distribution {
    std::span<const Candidate> candidates;
    double total = 0;
    double most_total = 0;
  };

  bool assign(std::span<const float> logits, const SamplerState& state);
  void constrain(TokenConstraint& constraint);
  void apply_bias_and_penalties(const SamplerState& state);
  Distribution distribution(const SamplingParams& params);
  Distribution of_all(const SamplingParams& params);
  Distribution of_largest(const SamplingParams& params, int32_t top_k);
  size_t cut(const SamplingParams& params, size_t n, double total) const;
  size_t cut_by_bounds(const SamplingParams& params, size_t n);
  int32_t draw(const Distribution& from, double uniform);
  int32_t draw_from_row(double least_threshold, double most_threshold) const;
  std::span<const double> block_weights(int64_t block, std::span<double> out) const;
  int32_t verify(Distribution from, const Proposal& proposal, const SamplerState& state);
  double weight_of(const Distribution& from, int32_t token) const;
  void take_off(Distribution& from, std::span<const TokenShare> shares);
  void fill_logprobs(std::span<const float> logits, const SamplingParams& params, bool is_edited,
                     Choice& choice);

  int64_t vocab_size_;
  std::vector<uint64_t> mask_;                           // of what a constraint allows
  LogitRow row_;                                         // after bias and penalties
  float inverse_temperature_ = 1;                        // of the distribution of the whole row
  BlockSums sums_;                                       // of its weights
  std::array<TokenShare, Proposals::kMaxShares> taken_;  // weights taken off it
  size_t n_taken_ = 0;
  std::vector<double> weights_;  // [V] of candidates, most probable first
  Selector selector_;
  std::array<TokenShare, Proposals::kMaxShares> shares_;  // of a proposal
};

}  // namespace llmhost::engine
