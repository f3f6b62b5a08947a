// Speculative decoding: a proposer guesses the next tokens of sequences, and the model runs them all in one
// step with logits for each. A guess is kept where the sampler chooses the same token as it would have
// without it; the first other choice takes its place and the rest is dropped. Guesses change how fast tokens
// come, never what they may be.
//
// Proposals stay with their sequence until they are verified or refused, however the scheduler cuts the work,
// so that a seeded request's tokens do not depend on its neighbours.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace llmhost::engine {

struct Sequence;

struct SpeculationOptions {
  int32_t tokens = 4;     // most proposals at a time
  int32_t ngram_min = 2;  // lookup: tokens at the end of the text that must occur earlier
  int32_t ngram_max = 4;

  void validate() const;  // throws kInvalidArgument naming the field
};

// A token and its probability where it was drawn.
struct TokenShare {
  int32_t token = 0;
  double share = 0;
};

// A proposed token with the distribution that it was drawn from; without one it is a guess of probability 1.
struct Proposal {
  int32_t token = -1;
  std::span<const TokenShare> shares;
};

// The proposals of one sequence, in the order of the text, and how many are worth making: fewer after one
// that was refused, more after all held. Room is made once.
class Proposals {
 public:
  static constexpr size_t kMaxShares = 64;  // tokens that a proposal may be drawn from

  // Room for this many proposals, with distributions or without.
  void reserve(int32_t tokens, bool with_shares);
  void push(int32_t token, std::span<const TokenShare> shares = {});

  bool empty() const { return first_ == tokens_.size(); }
  int32_t size() const { return static_cast<int32_t>(tokens_.size() - first_); }
  std::span<const int32_t> tokens() const { return std::span(tokens_).subspan(first_); }
  Proposal front() const;
  void accept_front();
  void refuse();  // the first, and with it all; or a token was chosen without any

  int32_t limit() const { return limit_; }
  // The token after proposals that all held is chosen without one, as where it is chosen in the same step:
  // whether it is depends on what room the scheduler had.
  bool may_propose() const { return empty() && !all_held_; }

 private:
  void clear();

  size_t first_ = 0;   // those before it are verified
  int32_t limit_ = 0;  // of the next proposals
  int32_t most_ = 0;
  bool all_held_ = false;
  std::vector<int32_t> tokens_;
  std::vector<size_t> shares_end_;
  std::vector<TokenShare> shares_;
};

class Proposer {
 public:
  explicit Proposer(const SpeculationOptions& options);
  virtual ~Proposer() = default;
  Proposer(const Proposer&) = delete;
  Proposer& operator=(const Proposer&) = delete;

  const SpeculationOptions& options() const { return options_; }
  // Whether proposals come with the distributions that they were drawn from.
  virtual bool draws() const { return false; }
  // Proposes for sequences that have none and can use some. A proposal may depend on the sequence's own text,
  // parameters and seed alone.
  virtual void propose(std::span<Sequence* const> sequences) = 0;
  // The sequence gives up its memory: it is preempted, or finished (then it may keep it for a continuation).
  virtual void preempted(const Sequence&) {}
  virtual void finished(const Sequence&) {}
  virtual void release_state(uint64_t /*request*/) {}

 protected:
  // Most proposals that the sequence can use: the last token of its output is never proposed.
  int32_t room(const Sequence& sequence) const;

 private:
  SpeculationOptions options_;
};

}  // namespace llmhost::engine
