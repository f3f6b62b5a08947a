// Which sequences take part in the next step, and with how many tokens. Knows counts only: no tensors, no
// clock, no I/O.
//
// Every sequence has `computed` tokens in its state and `target` tokens that it knows; it has to catch up. A
// step spends one token budget, on running sequences first: those one token behind (decoding), then those
// further behind (prefill, in chunks), then waiting ones are admitted. Order everywhere: starved sequences,
// then higher priority, then earlier arrival. So within a priority admission is strictly first come, first
// served.
//
// Pages: a waiting sequence is admitted when its whole target fits beside what admitted ones still need for
// theirs. Decoding may outgrow that: then the last sequence of the order gives up all its pages and computes
// again later (preemption by recompute), and nothing is admitted in that step. The first of the order can
// always go on, so every sequence finishes as long as each alone fits into all pages. Sequences may share
// pages at their beginnings: one is free again when the first of the order that holds it gives it up, which
// is the last to do so.
//
// Proposed tokens (speculative decoding) get what a step has left: they never take a token, a row or a page
// from what must be run, and preempt nobody.
//
// Starvation bound: a waiting sequence that `starvation_bound` later arrivals have overtaken goes before
// everything but earlier starved ones, and stays there until it ends.
#pragma once

#include <cstdint>
#include <vector>

namespace llmhost::engine {

struct SchedulerLimits {
  int32_t token_budget = 512;  // tokens of a step; at least max_sequences
  int32_t max_sequences = 32;  // running at once
  int32_t max_outputs = 32;    // logits rows of a step; at least max_sequences
  int32_t page_tokens = 32;
  int32_t prefill_chunk = 0;  // most known tokens of one sequence in a step; 0: no limit but the budget
  int32_t starvation_bound = 64;

  void validate() const;  // throws kInvalidArgument naming the field
};

struct ScheduledSequence {
  uint64_t id = 0;       // the caller's
  uint64_t arrival = 0;  // unique, ascending
  int32_t priority = 0;  // higher goes first
  int32_t computed = 0;
  int32_t target = 0;        // more than `computed` while it has something to run
  int32_t proposed = 0;      // tokens after the target that may be run on trial, each with its logits
  int32_t pages = 0;         // held, or, while it waits, to be taken over with what is computed
  int32_t shared_pages = 0;  // of those held, that sequences before it in the order hold as well
  int32_t unused_pages = 0;  // of those to be taken over, that nobody uses: they are among the free ones
  int32_t overtaken = 0;     // later arrivals that were admitted while it waited
  bool starved = false;
  bool all_outputs = false;  // every token needs its logits, not the last one alone
};

// Both lists are in service order; add_waiting and apply_plan keep them so.
struct SchedulerState {
  std::vector<ScheduledSequence> running;
  std::vector<ScheduledSequence> waiting;
};

struct PlannedSequence {
  int32_t index = 0;      // in `running`, or in `waiting` for the admitted
  int32_t tokens = 0;     // to run now, at least 1
  int32_t new_pages = 0;  // to be allocated before
};

struct Plan {
  std::vector<PlannedSequence> running;
  std::vector<int32_t> preempted;         // indices in `running`, ascending
  std::vector<PlannedSequence> admitted;  // ascending indices in `waiting`
  int32_t total_tokens = 0;

  bool empty() const { return running.empty() && admitted.empty() && preempted.empty(); }
};

// The plan of the next step. A pure function; `plan` is cleared first and keeps its capacity. `free_pages`
// are those that no running sequence uses.
void plan_step(const SchedulerState& state, const SchedulerLimits& limits, int32_t free_pages, Plan& plan);

// The state after the plan: the preempted wait again with nothing computed, the admitted run, tokens are
// computed.
void apply_plan(SchedulerState& state, const SchedulerLimits& limits, const Plan& plan);

void add_waiting(SchedulerState& state, const ScheduledSequence& sequence);

// Takes a finished or cancelled sequence out of either list; whether it was there.
bool remove_sequence(SchedulerState& state, uint64_t id);

// Whether `a` is served before `b`.
bool served_before(const ScheduledSequence& a, const ScheduledSequence& b);

}  // namespace llmhost::engine
