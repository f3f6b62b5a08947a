// Chooses tokens from rows of logits; sampling_params.h has the chain. One Sampler serves all sequences of an
// engine (it holds workspace only); what belongs to a sequence is in its SamplerState. A choice depends on
// the row, the parameters, the sequence's tokens and the number of tokens drawn so far, never on neighbours
// in the batch. No allocation after construction and SamplerState::start.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "engine/sampling_params.h"
#include "engine/selection.h"
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
  void sample(std::span<const float> logits, SamplerState& state, int64_t position, Choice& choice);

 private:
  void apply_bias_and_penalties(const SamplerState& state, std::span<float> row) const;
  int32_t draw(std::span<const float> row, const SamplingParams& params, double uniform);
  int32_t draw_from_all(std::span<const float> row, double temperature, double uniform);
  int32_t draw_from_largest(std::span<const float> row, const SamplingParams& params, double uniform);
  size_t cut(std::span<const Candidate> candidates, const SamplingParams& params, double total);
  void fill_logprobs(std::span<const float> logits, const SamplingParams& params, Choice& choice);

  int64_t vocab_size_;
  std::vector<float> row_;       // [V] logits after bias and penalties
  std::vector<double> weights_;  // [V] unnormalised probabilities
  Selector selector_;
};

}  // namespace llmhost::engine
