// Engine::run_step and what it is made of.
#include <algorithm>
#include <cmath>
#include <exception>
#include <utility>

#include "core/error.h"
#include "engine/adapter.h"
#include "engine/engine.h"

namespace llmhost::engine {
namespace {

void require_finite_hidden(const PromptHidden& chunk) {
  const auto bad = std::ranges::find_if(chunk.rows, [](float value) { return !std::isfinite(value); });
  if (bad == chunk.rows.end()) return;
  const auto width = static_cast<int64_t>(chunk.rows.size()) / chunk.n_rows;
  throw_error(ErrorCode::kDataLoss,
              "the hidden state of position {} holds {}: the weights are damaged or the numbers overflow; "
              "check the checkpoint or use a wider dtype",
              chunk.first_position + (bad - chunk.rows.begin()) / width, *bad);
}

// Marks the step as running, until it ends in whatever way.
class StepMark {
 public:
  explicit StepMark(bool& in_step) : in_step_(in_step) { in_step_ = true; }
  ~StepMark() { in_step_ = false; }
  StepMark(const StepMark&) = delete;
  StepMark& operator=(const StepMark&) = delete;

 private:
  bool& in_step_;
};

}  // namespace

bool Engine::run_step() {
  if (in_step_) throw_error(ErrorCode::kFailedPrecondition, "engine: run_step was called from a callback");
  propose();
  plan();
  if (plan_.empty()) return false;
  const StepMark mark(in_step_);
  participants_.clear();
  batch_.clear();
  preempt();
  // State that a sequence of this step goes on with is taken over before any is given up for its pages.
  for (const PlannedSequence& planned : plan_.admitted) {
    Sequence& admitted = sequence(scheduler_.waiting[static_cast<size_t>(planned.index)].id);
    admit(admitted);
    take_part(admitted, planned);
  }
  for (const PlannedSequence& planned : plan_.running)
    take_part(sequence(scheduler_.running[static_cast<size_t>(planned.index)].id), planned);
  for (Participant& participant : participants_) fill_batch(participant);
  apply_plan(scheduler_, limits_, plan_);
  run_batch();
  publish_pages();
  update_scheduler();
  retire();
  return true;
}

void Engine::take_part(Sequence& sequence, const PlannedSequence& planned) {
  const int64_t known = static_cast<int64_t>(sequence.tokens.size()) + sequence.proposals.size();
  const int64_t behind = known - sequence.computed;
  participants_.push_back({&sequence, static_cast<int32_t>(std::min<int64_t>(planned.tokens, behind))});
}

void Engine::grow_pages(Sequence& sequence, int64_t tokens) {
  const int32_t n_pages = pages_for(tokens, limits_.page_tokens);
  // What was kept for one conversation is in the prefix cache as well, but for its end.
  while (!sequence.pages.grow_to(n_pages, pages_))
    if (!kept_.evict_one(pages_) && !prefixes_.evict_one())
      throw_error(ErrorCode::kInternal, "engine: no page is free although the plan counted on it");
}

void Engine::fill_batch(Participant& participant) {
  Sequence& sequence = *participant.sequence;
  const int64_t begin = sequence.computed;
  const int64_t end = begin + participant.n_tokens;
  grow_pages(sequence, end);
  const Adapter* const adapter = sequence.request.adapter.get();
  batch_.begin_sequence(begin, sequence.pages.pages(), adapter == nullptr ? nullptr : adapter->handle());
  participant.first_row = batch_.n_outputs();
  const auto known = static_cast<int64_t>(sequence.tokens.size());
  for (int64_t position = begin; position < end; ++position) {
    const bool to_deliver =
        sequence.wants_prompt_rows() && position < sequence.prompt_length && position >= sequence.delivered;
    const int32_t token = position < known
                              ? sequence.tokens[static_cast<size_t>(position)]
                              : sequence.proposals.tokens()[static_cast<size_t>(position - known)];
    batch_.add_token(token, sequence.prompt_length, to_deliver || position >= known - 1);
  }
  participant.n_rows = batch_.n_outputs() - participant.first_row;
  participant.n_proposed = static_cast<int32_t>(std::max<int64_t>(end - known, 0));
}

// The output head is run, and hidden states are read, only if somebody wants them.
void Engine::run_step_program() {
  const auto wants_logits = [](const Participant& one) { return one.sequence->wants_logits(); };
  const auto wants_hidden = [](const Participant& one) {
    return static_cast<bool>(one.sequence->request.on_prompt_hidden);
  };
  logits_ = hidden_ = {};
  if (std::ranges::any_of(participants_, wants_logits) || runner_.hidden_size() == 0) {
    logits_ = runner_.step(batch_);
    if (std::ranges::any_of(participants_, wants_hidden)) hidden_ = runner_.hidden();
  } else {
    hidden_ = runner_.step_headless(batch_);
  }
}

void Engine::run_batch() {
  try {
    run_step_program();
  } catch (const std::exception& error) {
    for (const Participant& participant : participants_) participant.sequence->fail(error);
    return;
  }
  ++stats_.steps;
  for (const Participant& participant : participants_) {
    count(participant);
    try {
      take_outputs(participant);
    } catch (const std::exception& error) {
      participant.sequence->fail(error);
    }
  }
}

// Full pages that the step filled are known from now on.
void Engine::publish_pages() {
  if (!prefixes_.is_on()) return;
  for (const Participant& participant : participants_) {
    Sequence& sequence = *participant.sequence;
    prefixes_.publish(sequence.prefix, sequence.tokens, sequence.computed, sequence.pages);
  }
  stats_.prefix_evictions = prefixes_.n_evicted();
}

void Engine::count(const Participant& participant) {
  Sequence& sequence = *participant.sequence;
  const int64_t in_prompt = std::max<int64_t>(sequence.prompt_length - sequence.computed, 0);
  stats_.prompt_tokens += std::min<int64_t>(in_prompt, participant.n_tokens);
  // Proposals do not count before they are verified.
  const auto known = static_cast<int64_t>(sequence.tokens.size());
  sequence.computed = std::min(sequence.computed + participant.n_tokens, known);
}

void Engine::take_outputs(const Participant& participant) {
  Sequence& sequence = *participant.sequence;
  if (sequence.finished) return;
  deliver_prompt_rows(participant);
  if (sequence.finished || sequence.computed < static_cast<int64_t>(sequence.tokens.size())) return;
  if (sequence.n_output() >= sequence.max_tokens) {  // only when there is nothing to generate at all
    sequence.finish(FinishReason::kLength);
    return;
  }
  ++sequence.usage.steps;
  const auto vocab = static_cast<size_t>(runner_.vocab_size());
  const int32_t end = participant.first_row + participant.n_rows;
  for (int32_t row = end - 1 - participant.n_proposed; row < end; ++row)
    if (!choose_token(sequence, logits_.subspan(static_cast<size_t>(row) * vocab, vocab))) break;
  // What was computed for proposals that did not hold is given up; their positions are computed again.
  sequence.pages.shrink_to(pages_for(sequence.computed, limits_.page_tokens), pages_);
}

// The next token of a sequence from the logits of its last one, which is computed. True when it was proposed
// and the sequence goes on, so that the following row, if there is one, holds as well.
bool Engine::choose_token(Sequence& sequence, std::span<const float> row) {
  sequence.computed = static_cast<int64_t>(sequence.tokens.size());
  if (sequence.request.on_token_logits) sequence.request.on_token_logits(row);
  const Proposal proposal = sequence.proposals.empty() ? Proposal{} : sequence.proposals.front();
  sampler_.sample(row, sequence.sampler, sequence.computed - 1, proposal, sequence.request.constraint.get(),
                  choice_);
  const bool is_hit = choice_.token == proposal.token;
  if (is_hit) {
    sequence.proposals.accept_front();
    ++sequence.usage.accepted;
    ++stats_.accepted;
  } else {
    sequence.proposals.refuse();
  }
  sequence.accept(choice_);
  return is_hit && !sequence.finished;
}

// Rows of the prompt that are due, from those of the sequence in this step. Its rows begin with the first
// that is, or, where one row is wanted, end with it.
void Engine::deliver_prompt_rows(const Participant& participant) {
  Sequence& sequence = *participant.sequence;
  const int64_t end = std::min(sequence.computed, sequence.prompt_length);
  const bool is_last = end == sequence.prompt_length;
  if (end <= sequence.delivered || (!sequence.wants_prompt_rows() && !is_last)) return;
  const int64_t first = sequence.wants_prompt_rows() ? sequence.delivered : end - 1;
  const auto rows_from = [&](int64_t position, std::span<const float> all, int64_t width) {
    const int64_t row = participant.first_row + position - first;
    return all.subspan(static_cast<size_t>(row * width), static_cast<size_t>((end - position) * width));
  };
  sequence.delivered = end;
  if (sequence.request.on_prompt_logits) {
    const int64_t width = runner_.vocab_size();
    const PromptLogits chunk{sequence.id, first, end - first, rows_from(first, logits_, width)};
    for (int64_t row = 0; row < chunk.n_rows; ++row)
      require_finite(chunk.rows.subspan(static_cast<size_t>(row * width), static_cast<size_t>(width)),
                     first + row);
    sequence.request.on_prompt_logits(chunk);
  }
  const bool is_last_only = sequence.request.hidden_of_last;
  if (!sequence.request.on_prompt_hidden || (is_last_only && !is_last)) return;
  const int64_t from = is_last_only ? end - 1 : first;
  const PromptHidden chunk{sequence.id, from, end - from, rows_from(from, hidden_, runner_.hidden_size())};
  require_finite_hidden(chunk);
  sequence.request.on_prompt_hidden(chunk);
}

// Finished sequences leave: those of the step, then those that a callback cancelled.
void Engine::retire() {
  retired_.clear();
  for (const Participant& participant : participants_)
    if (participant.sequence->finished) retired_.push_back(participant.sequence->id);
  // on_finish may submit and cancel.
  do {
    retired_.insert(retired_.end(), cancelled_.begin(), cancelled_.end());
    cancelled_.clear();
    for (const RequestId id : retired_) {
      const auto found = sequences_.find(id);
      if (found != sequences_.end()) finish(*found->second);
    }
    retired_.clear();
  } while (!cancelled_.empty());
}

}  // namespace llmhost::engine
