// What Engine::run_step runs next: proposals, the plan, and who takes over what.
#include <algorithm>
#include <exception>
#include <utility>

#include "engine/engine.h"

namespace llmhost::engine {
namespace {

// Of a step, however short it is to be: who waits gets on.
constexpr int32_t kLeastPromptTokens = 8;

}  // namespace

// Guesses for the sequences that will otherwise run one token.
void Engine::propose() {
  if (proposer_ == nullptr) return;
  to_propose_.clear();
  for (const ScheduledSequence& scheduled : scheduler_.running) {
    Sequence& decoding = sequence(scheduled.id);
    if (decoding.wants_proposals()) to_propose_.push_back(&decoding);
  }
  if (to_propose_.empty()) return;
  proposer_->propose(to_propose_);
  for (Sequence* const decoding : to_propose_) {
    decoding->usage.proposed += decoding->proposals.size();
    stats_.proposed += decoding->proposals.size();
  }
  for (ScheduledSequence& scheduled : scheduler_.running)
    scheduled.proposed = sequence(scheduled.id).proposals.size();
}

void Engine::plan() {
  const auto least = static_cast<int32_t>(scheduler_.running.size()) + kLeastPromptTokens;
  limits_.token_budget = std::min(std::max(step_tokens_, least), runner_.options().max_tokens);
  if (prefixes_.is_on()) {
    look_up_waiting();
    count_shared_pages();
  }
  plan_step(scheduler_, limits_, pages_.n_unused(), plan_);
}

// Pages that running sequences still need for the tokens they know.
int32_t Engine::outstanding_pages() const {
  int32_t pages = 0;
  for (const ScheduledSequence& running : scheduler_.running)
    pages += std::max(0, pages_for(running.target, limits_.page_tokens) - running.pages);
  return pages;
}

// What the prefix cache has for those that may be admitted. Behind one that does not fit nobody is.
void Engine::look_up_waiting() {
  int32_t left = pages_.n_unused() - outstanding_pages();
  const size_t room = static_cast<size_t>(limits_.max_sequences) - scheduler_.running.size();
  for (size_t i = 0; i < std::min(room, scheduler_.waiting.size()); ++i) {
    ScheduledSequence& scheduled = scheduler_.waiting[i];
    PrefixCache::Match match;
    Sequence& waiting = sequence(scheduled.id);
    if (left > 0 && !claims_kept(waiting))
      match = prefixes_.find(waiting.prefix, waiting.tokens, waiting.reusable_tokens());
    scheduled.computed = match.pages * limits_.page_tokens;
    scheduled.pages = match.pages;
    scheduled.unused_pages = match.unused;
    left -= pages_for(scheduled.target, limits_.page_tokens) - match.pages + match.unused;
  }
}

// Known only when it matters: when somebody may be preempted.
void Engine::count_shared_pages() {
  if (outstanding_pages() <= pages_.n_unused()) return;
  ++page_mark_;
  for (ScheduledSequence& scheduled : scheduler_.running) {
    scheduled.shared_pages = 0;
    for (const int32_t page : sequence(scheduled.id).pages.pages()) {
      int32_t& mark = page_marks_[static_cast<size_t>(page)];
      if (mark == page_mark_) ++scheduled.shared_pages;
      mark = page_mark_;
    }
  }
}

void Engine::preempt() {
  for (const int32_t index : plan_.preempted) {
    Sequence& victim = sequence(scheduler_.running[static_cast<size_t>(index)].id);
    victim.pages.shrink_to(0, pages_);
    victim.prefix.restart();
    victim.computed = 0;
    if (proposer_ != nullptr) proposer_->preempted(victim);
    ++victim.usage.preemptions;
    ++stats_.preemptions;
  }
}

// A waiting sequence has its turn: the first, or the next after it was preempted.
void Engine::admit(Sequence& sequence) {
  const bool is_first = !sequence.started;
  if (is_first) {
    sequence.start(limits_.page_tokens);
    if (proposer_ != nullptr) sequence.proposals.reserve(proposer_->options().tokens, proposer_->draws());
  }
  take_over_state(sequence);
  if (!is_first) return;
  sequence.usage.reused_tokens = sequence.computed;
  if (!sequence.request.on_start) return;
  try {
    sequence.request.on_start(sequence.id);
  } catch (const std::exception& error) {
    sequence.fail(error);
  }
}

// Rows of every position need every position to be run.
bool Engine::claims_kept(const Sequence& sequence) const {
  return sequence.request.continue_from != 0 && !sequence.wants_prompt_rows() &&
         kept_.has(sequence.request.continue_from);
}

void Engine::take_over_state(Sequence& sequence) {
  if (claims_kept(sequence)) {
    const KeptStates::Claimant claimant{sequence.tokens, sequence.request.cache_scope,
                                        runner_.length_dependent_from(), limits_.page_tokens};
    KeptStates::Claim claim = kept_.claim(sequence.request.continue_from, claimant, pages_);
    for (const int32_t page : claim.pages.pages()) sequence.pages.append(page, pages_);
    claim.pages.shrink_to(0, pages_);
    sequence.computed = claim.computed;
  }
  sequence.continued = std::exchange(sequence.request.continue_from, 0);
  if (sequence.computed > 0) return;
  const int64_t reusable = sequence.reusable_tokens();
  const int32_t hits = prefixes_.attach(sequence.prefix, sequence.tokens, reusable, sequence.pages);
  sequence.computed = int64_t{hits} * limits_.page_tokens;
  if (!prefixes_.is_on() || !sequence.request.cache_scope.enabled) return;
  stats_.prefix_hits += hits;
  stats_.prefix_misses += reusable / limits_.page_tokens - hits;
}

// What the step did to the sequences, as the scheduler counts it.
void Engine::update_scheduler() {
  for (ScheduledSequence& scheduled : scheduler_.running) {
    const Sequence& current = sequence(scheduled.id);
    scheduled.computed = static_cast<int32_t>(current.computed);
    scheduled.target = static_cast<int32_t>(current.tokens.size());
    scheduled.proposed = current.proposals.size();
    scheduled.pages = current.pages.size();
    scheduled.shared_pages = 0;
  }
}

}  // namespace llmhost::engine
