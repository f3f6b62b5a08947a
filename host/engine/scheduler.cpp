#include "engine/scheduler.h"

#include <algorithm>

#include "core/error.h"
#include "engine/pages.h"

namespace llmhost::engine {
namespace {

// One planning pass. Plan::running holds an entry for every running sequence while it works (index =
// position), and is compacted at the end.
class Planner {
 public:
  Planner(const SchedulerState& state, const SchedulerLimits& limits, int32_t free_pages, Plan& plan)
      : state_(state), limits_(limits), plan_(plan), free_pages_(free_pages) {
    tokens_left_ = limits.token_budget;
    extra_outputs_ = limits.max_outputs - limits.max_sequences;
    alive_ = static_cast<int32_t>(state.running.size());
    plan_.running.clear();
    plan_.preempted.clear();
    plan_.admitted.clear();
    plan_.total_tokens = 0;
    for (int32_t i = 0; i < alive_; ++i) plan_.running.push_back({i, 0, 0});
  }

  void run() {
    for (int32_t i = 0; i < alive_; ++i)
      if (behind(i) == 1) schedule(i);
    for (int32_t i = 0; i < alive_; ++i)
      if (behind(i) > 1) schedule(i);
    compact();
    if (plan_.preempted.empty()) admit();
    for (PlannedSequence& entry : plan_.running) add_proposed(entry);
    for (const PlannedSequence& entry : plan_.running) plan_.total_tokens += entry.tokens;
    for (const PlannedSequence& entry : plan_.admitted) plan_.total_tokens += entry.tokens;
  }

 private:
  const ScheduledSequence& running(int32_t i) const { return state_.running[static_cast<size_t>(i)]; }
  int32_t behind(int32_t i) const { return running(i).target - running(i).computed; }

  // The tokens one sequence may run now.
  int32_t chunk(const ScheduledSequence& sequence) const {
    int32_t tokens = std::min(sequence.target - sequence.computed, tokens_left_);
    if (limits_.prefill_chunk > 0) tokens = std::min(tokens, limits_.prefill_chunk);
    if (sequence.all_outputs) tokens = std::min(tokens, extra_outputs_ + 1);
    return tokens;
  }

  int32_t new_pages(const ScheduledSequence& sequence, int32_t tokens) const {
    return std::max(0, pages_for(int64_t{sequence.computed} + tokens, limits_.page_tokens) - sequence.pages);
  }

  void take(const ScheduledSequence& sequence, PlannedSequence& entry, int32_t tokens, int32_t pages) {
    entry.tokens = tokens;
    entry.new_pages = pages;
    tokens_left_ -= tokens;
    free_pages_ -= pages + sequence.unused_pages;
    if (sequence.all_outputs) extra_outputs_ -= tokens - 1;
  }

  void schedule(int32_t i) {
    const int32_t tokens = chunk(running(i));
    if (tokens <= 0) return;
    const int32_t pages = new_pages(running(i), tokens);
    while (pages > free_pages_) {
      preempt_last();
      if (alive_ <= i) return;  // it was the last itself
    }
    take(running(i), plan_.running[static_cast<size_t>(i)], tokens, pages);
  }

  // The last of the order gives up its pages, and its share of the step if it has one already.
  void preempt_last() {
    --alive_;
    PlannedSequence& entry = plan_.running[static_cast<size_t>(alive_)];
    free_pages_ += running(alive_).pages - running(alive_).shared_pages + entry.new_pages;
    tokens_left_ += entry.tokens;
    if (running(alive_).all_outputs && entry.tokens > 0) extra_outputs_ += entry.tokens - 1;
    entry.tokens = 0;
    plan_.preempted.push_back(alive_);
  }

  void compact() {
    std::erase_if(plan_.running, [](const PlannedSequence& entry) { return entry.tokens == 0; });
    std::reverse(plan_.preempted.begin(), plan_.preempted.end());
  }

  // Pages that running sequences still need, after this step, to catch up with their targets.
  int64_t outstanding_pages() const {
    int64_t pages = 0;
    for (const ScheduledSequence& sequence : state_.running)
      pages += std::max(0, pages_for(sequence.target, limits_.page_tokens) - sequence.pages);
    for (const PlannedSequence& entry : plan_.running) pages -= entry.new_pages;
    return std::max<int64_t>(pages, 0);
  }

  void admit() {
    unreserved_ = free_pages_ - outstanding_pages();
    int32_t room = limits_.max_sequences - static_cast<int32_t>(state_.running.size());
    for (size_t i = 0; i < state_.waiting.size() && room > 0; ++i, --room) {
      const ScheduledSequence& sequence = state_.waiting[i];
      const int32_t tokens = chunk(sequence);
      const int32_t whole =
          pages_for(sequence.target, limits_.page_tokens) - sequence.pages + sequence.unused_pages;
      if (tokens <= 0 || whole > unreserved_) return;  // nobody overtakes the head
      unreserved_ -= whole;
      PlannedSequence entry{static_cast<int32_t>(i), 0, 0};
      take(sequence, entry, tokens, new_pages(sequence, tokens));
      plan_.admitted.push_back(entry);
    }
  }

  // Proposals follow a sequence that runs all it knows.
  void add_proposed(PlannedSequence& entry) {
    const ScheduledSequence& sequence = running(entry.index);
    if (sequence.proposed == 0 || sequence.computed + entry.tokens < sequence.target) return;
    const int64_t pages = sequence.pages + entry.new_pages + std::max<int64_t>(unreserved_, 0);
    const int64_t room = pages * limits_.page_tokens - sequence.target;
    int32_t tokens = std::min({sequence.proposed, tokens_left_, extra_outputs_});
    tokens = static_cast<int32_t>(std::min<int64_t>(tokens, room));
    if (tokens <= 0) return;
    const int32_t new_pages_now = new_pages(sequence, entry.tokens + tokens);
    unreserved_ -= new_pages_now - entry.new_pages;
    entry.tokens += tokens;
    entry.new_pages = new_pages_now;
    tokens_left_ -= tokens;
    extra_outputs_ -= tokens;
  }

  const SchedulerState& state_;
  const SchedulerLimits& limits_;
  Plan& plan_;
  int64_t unreserved_ = 0;  // free pages that nobody counts on; known once admit() has run
  int32_t free_pages_;
  int32_t tokens_left_ = 0;
  int32_t extra_outputs_ = 0;  // logits rows beyond the one that each sequence is sure of
  int32_t alive_ = 0;          // running sequences [0, alive_) are not preempted
};

void insert_in_order(std::vector<ScheduledSequence>& list, const ScheduledSequence& sequence) {
  list.insert(std::upper_bound(list.begin(), list.end(), sequence, served_before), sequence);
}

// Counts the admitted that came later than each sequence left waiting; whoever reaches the bound moves to the
// front.
void count_overtaken(SchedulerState& state, const SchedulerLimits& limits, size_t n_admitted) {
  bool moved = false;
  uint64_t latest = 0;
  for (size_t j = 0; j < n_admitted; ++j) latest = std::max(latest, state.waiting[j].arrival);
  for (size_t i = n_admitted; i < state.waiting.size(); ++i) {
    ScheduledSequence& sequence = state.waiting[i];
    if (sequence.arrival > latest) continue;
    for (size_t j = 0; j < n_admitted; ++j)
      if (state.waiting[j].arrival > sequence.arrival) ++sequence.overtaken;
    if (!sequence.starved && sequence.overtaken >= limits.starvation_bound) sequence.starved = moved = true;
  }
  if (moved)
    std::sort(state.waiting.begin() + static_cast<std::ptrdiff_t>(n_admitted), state.waiting.end(),
              served_before);
}

}  // namespace

void SchedulerLimits::validate() const {
  if (max_sequences < 1) throw_invalid("max_sequences: got {}, expected at least 1", max_sequences);
  if (token_budget < max_sequences)
    throw_invalid("token_budget: got {}, expected at least max_sequences ({})", token_budget, max_sequences);
  if (max_outputs < max_sequences)
    throw_invalid("max_outputs: got {}, expected at least max_sequences ({})", max_outputs, max_sequences);
  if (page_tokens < 1) throw_invalid("page_tokens: got {}, expected at least 1", page_tokens);
  if (prefill_chunk < 0) throw_invalid("prefill_chunk: got {}, expected 0 (no limit) or more", prefill_chunk);
  if (starvation_bound < 1) throw_invalid("starvation_bound: got {}, expected at least 1", starvation_bound);
}

bool served_before(const ScheduledSequence& a, const ScheduledSequence& b) {
  if (a.starved != b.starved) return a.starved;
  if (!a.starved && a.priority != b.priority) return a.priority > b.priority;
  return a.arrival < b.arrival;
}

void plan_step(const SchedulerState& state, const SchedulerLimits& limits, int32_t free_pages, Plan& plan) {
  Planner(state, limits, free_pages, plan).run();
}

void apply_plan(SchedulerState& state, const SchedulerLimits& limits, const Plan& plan) {
  for (const PlannedSequence& entry : plan.running) {
    ScheduledSequence& sequence = state.running[static_cast<size_t>(entry.index)];
    sequence.computed += entry.tokens;
    sequence.pages += entry.new_pages;
  }
  const size_t n_admitted = plan.admitted.size();
  if (n_admitted > 0) count_overtaken(state, limits, n_admitted);
  for (const PlannedSequence& entry : plan.admitted) {
    ScheduledSequence sequence = state.waiting[static_cast<size_t>(entry.index)];
    sequence.computed += entry.tokens;
    sequence.pages += entry.new_pages;
    sequence.unused_pages = 0;
    insert_in_order(state.running, sequence);
  }
  state.waiting.erase(state.waiting.begin(), state.waiting.begin() + static_cast<std::ptrdiff_t>(n_admitted));
  // Whole tail of the order: the plan preempts from the back only.
  for (size_t i = plan.preempted.size(); i-- > 0;) {
    ScheduledSequence sequence = state.running[static_cast<size_t>(plan.preempted[i])];
    sequence.computed = sequence.pages = sequence.shared_pages = 0;
    insert_in_order(state.waiting, sequence);
  }
  state.running.resize(state.running.size() - plan.preempted.size());
}

void add_waiting(SchedulerState& state, const ScheduledSequence& sequence) {
  insert_in_order(state.waiting, sequence);
}

bool remove_sequence(SchedulerState& state, uint64_t id) {
  const auto same = [id](const ScheduledSequence& sequence) { return sequence.id == id; };
  return std::erase_if(state.running, same) + std::erase_if(state.waiting, same) > 0;
}

}  // namespace llmhost::engine
