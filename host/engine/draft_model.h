// A second, smaller model of the same vocabulary proposes tokens. It has its own state, which follows that of
// the sequences: rejected proposals are computed over, and a finished request's state waits for its
// continuation.
#pragma once

#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "engine/kept_states.h"
#include "engine/pages.h"
#include "engine/runner.h"
#include "engine/sampler.h"
#include "engine/speculation.h"
#include "engine/step_batch.h"

namespace llmhost::engine {

class DraftProposer final : public Proposer {
 public:
  // The runner must outlive the proposer, which is its only user; it needs room for as many sequences as the
  // engine runs, all at their longest. `vocab_size` is the target's: ids beyond it are not proposed.
  DraftProposer(ModelRunner& runner, int64_t vocab_size, const SpeculationOptions& options);
  ~DraftProposer() override;

  bool draws() const override { return true; }
  void propose(std::span<Sequence* const> sequences) override;
  void preempted(const Sequence& sequence) override;
  void finished(const Sequence& sequence) override;
  void release_state(uint64_t request) override;

 private:
  struct State {
    std::vector<int32_t> tokens;  // computed
    PageTable pages;
  };
  // One sequence while proposals are made for it.
  struct Drafting {
    Sequence* sequence = nullptr;
    State* state = nullptr;
    int32_t room = 0;  // proposals still to make
    int32_t row = -1;  // of its logits in the step
  };

  bool fits(const Sequence& sequence) const;
  State& state_of(const Sequence& sequence);
  void begin(Sequence& sequence);
  void run_step();
  void fill(Drafting& drafting);
  void grow(State& state, int64_t tokens);

  ModelRunner& runner_;
  int64_t vocab_size_;  // that both models have
  PageAllocator pages_;
  KeptStates kept_;
  StepBatch batch_;
  Sampler sampler_;
  std::vector<Drafting> drafting_;
  std::unordered_map<uint64_t, State> states_;
  bool failed_ = false;
};

}  // namespace llmhost::engine
