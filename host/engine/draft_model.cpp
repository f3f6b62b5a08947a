#include "engine/draft_model.h"

#include <algorithm>
#include <exception>

#include "core/error.h"
#include "core/log.h"
#include "engine/sequence.h"

namespace llmhost::engine {

DraftProposer::DraftProposer(ModelRunner& runner, int64_t vocab_size, const SpeculationOptions& options)
    : Proposer(options),
      runner_(runner),
      vocab_size_(std::min(vocab_size, runner.vocab_size())),
      pages_(runner.options().n_pages()),
      batch_(runner.options().limits(), runner.options().max_pages()),
      sampler_(vocab_size_) {
  const RunnerOptions& limits = runner.options();
  // Proposals must not depend on neighbours, so nobody may be short of memory.
  if (limits.n_pages() < limits.max_sequences * limits.max_pages())
    throw_invalid("draft model: its state has {} pages, {} sequences need {} each", limits.n_pages(),
                  limits.max_sequences, limits.max_pages());
  drafting_.reserve(static_cast<size_t>(limits.max_sequences));
}

DraftProposer::~DraftProposer() = default;

// The draft model may know less context and fewer tokens than the target.
bool DraftProposer::fits(const Sequence& sequence) const {
  const auto length = static_cast<int64_t>(sequence.tokens.size());
  if (length + options().tokens > runner_.options().max_context) return false;
  return std::all_of(sequence.tokens.begin(), sequence.tokens.end(),
                     [&](int32_t token) { return token < runner_.vocab_size(); });
}

DraftProposer::State& DraftProposer::state_of(const Sequence& sequence) {
  const auto [found, is_new] = states_.try_emplace(sequence.id);
  State& state = found->second;
  if (!is_new) return state;
  if (sequence.continued != 0) {
    const KeptStates::Claimant claimant{sequence.tokens, sequence.request.cache_scope,
                                        runner_.length_dependent_from(), runner_.options().page_tokens};
    KeptStates::Claim claim = kept_.claim(sequence.continued, claimant, pages_);
    state.pages = std::move(claim.pages);
    state.tokens.assign(sequence.tokens.begin(), sequence.tokens.begin() + claim.computed);
  }
  const int64_t longest = sequence.prompt_length + sequence.max_tokens;
  state.tokens.reserve(static_cast<size_t>(longest));
  state.pages.reserve(pages_for(longest, runner_.options().page_tokens));
  return state;
}

// Keeps of the state what agrees with the text, all but its last token at most, whose logits are needed.
void DraftProposer::begin(Sequence& sequence) {
  State& state = state_of(sequence);
  const auto agree = std::mismatch(state.tokens.begin(), state.tokens.end(), sequence.tokens.begin(),
                                   sequence.tokens.end() - 1);
  state.tokens.erase(agree.first, state.tokens.end());
  drafting_.push_back({&sequence, &state, room(sequence), -1});
}

void DraftProposer::propose(std::span<Sequence* const> sequences) {
  if (failed_) return;
  drafting_.clear();
  for (Sequence* const sequence : sequences)
    if (fits(*sequence)) begin(*sequence);
  try {
    while (!drafting_.empty()) run_step();
  } catch (const std::exception& error) {
    // The requests themselves are well: they go on without.
    failed_ = true;
    spdlog::warn("draft model: it failed and is not asked any more: {}", error.what());
  }
}

// One step for all that still want proposals: what the draft model has not seen of their texts is run, and a
// proposal is drawn for each whose text is run to its end.
void DraftProposer::run_step() {
  batch_.clear();
  for (Drafting& drafting : drafting_) fill(drafting);
  const std::span<const float> logits = runner_.step(batch_);
  for (Drafting& drafting : drafting_) {
    if (drafting.row < 0) continue;
    const std::span<const float> row = logits.subspan(
        static_cast<size_t>(drafting.row * runner_.vocab_size()), static_cast<size_t>(vocab_size_));
    const bool is_good = sampler_.propose(row, drafting.sequence->sampler, drafting.sequence->proposals);
    drafting.room = is_good ? drafting.room - 1 : 0;
  }
  std::erase_if(drafting_, [](const Drafting& drafting) { return drafting.room == 0; });
}

void DraftProposer::fill(Drafting& drafting) {
  drafting.row = -1;
  const Sequence& sequence = *drafting.sequence;
  State& state = *drafting.state;
  const auto known = static_cast<int64_t>(sequence.tokens.size());
  const auto begin = static_cast<int64_t>(state.tokens.size());
  const int64_t text = known + sequence.proposals.size();
  const int64_t end = std::min<int64_t>(text, begin + runner_.options().max_tokens - batch_.n_tokens());
  if (end == begin) return;
  grow(state, end);
  batch_.begin_sequence(begin, state.pages.pages());
  for (int64_t position = begin; position < end; ++position) {
    const int32_t token = position < known
                              ? sequence.tokens[static_cast<size_t>(position)]
                              : sequence.proposals.tokens()[static_cast<size_t>(position - known)];
    state.tokens.push_back(token);
    drafting.row = batch_.add_token(token, sequence.prompt_length, position == text - 1);
  }
}

void DraftProposer::grow(State& state, int64_t tokens) {
  while (!state.pages.grow_to(pages_for(tokens, runner_.options().page_tokens), pages_))
    if (!kept_.evict_one(pages_))
      throw_error(ErrorCode::kResourceExhausted, "no page of its state is free for {} positions", tokens);
}

void DraftProposer::preempted(const Sequence& sequence) {
  const auto found = states_.find(sequence.id);
  if (found == states_.end()) return;
  found->second.pages.shrink_to(0, pages_);
  states_.erase(found);
}

void DraftProposer::finished(const Sequence& sequence) {
  const auto found = states_.find(sequence.id);
  if (found == states_.end()) return;
  State& state = found->second;
  if (sequence.request.keep_state && !failed_)
    kept_.keep(sequence.id, sequence.request.cache_scope, std::move(state.tokens), sequence.prompt_length,
               std::move(state.pages), pages_);
  else
    state.pages.shrink_to(0, pages_);
  states_.erase(found);
}

void DraftProposer::release_state(uint64_t request) {
  kept_.release(request, pages_);
}

}  // namespace llmhost::engine
