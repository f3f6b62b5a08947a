#include "engine/kept_states.h"

#include <algorithm>

namespace llmhost::engine {

void KeptStates::keep(uint64_t id, const CacheScope& scope, std::vector<int32_t> tokens,
                      int64_t prompt_length, PageTable pages, PageAllocator& allocator) {
  pages.park(allocator);
  states_.push_back({id, scope, std::move(tokens), prompt_length, std::move(pages)});
}

std::list<KeptStates::State>::iterator KeptStates::find(uint64_t id) {
  return std::ranges::find(states_, id, &State::id);
}

bool KeptStates::has(uint64_t id) const {
  return std::ranges::find(states_, id, &State::id) != states_.end();
}

KeptStates::Claim KeptStates::claim(uint64_t id, const Claimant& claimant, PageAllocator& allocator) {
  Claim claim;
  const auto state = find(id);
  if (state == states_.end()) return claim;
  const std::span<const int32_t> text = claimant.tokens;
  const auto mismatch =
      std::mismatch(state->tokens.begin(), state->tokens.end(), text.begin(), text.end()).first;
  const int64_t common = mismatch - state->tokens.begin();
  const auto length = static_cast<int64_t>(text.size());
  const bool same_state = state->scope.is_same(claimant.scope) && length <= claimant.length_dependent_from &&
                          state->prompt_length <= claimant.length_dependent_from;
  claim.computed = same_state ? std::min(common, length - 1) : 0;
  claim.pages = std::move(state->pages);
  states_.erase(state);
  const int32_t n_full = static_cast<int32_t>(claim.computed / claimant.page_tokens);
  int32_t n_pages = pages_for(claim.computed, claimant.page_tokens);
  if (n_pages > n_full && allocator.holders(claim.pages[n_full]) > 1) {
    n_pages = n_full;
    claim.computed = int64_t{n_full} * claimant.page_tokens;
  }
  claim.pages.shrink_parked_to(n_pages, allocator);
  claim.pages.unpark(allocator);
  return claim;
}

bool KeptStates::evict_one(PageAllocator& allocator) {
  if (states_.empty()) return false;
  states_.front().pages.shrink_parked_to(0, allocator);
  states_.pop_front();
  return true;
}

void KeptStates::release(uint64_t id, PageAllocator& allocator) {
  const auto state = find(id);
  if (state == states_.end()) return;
  state->pages.shrink_parked_to(0, allocator);
  states_.erase(state);
}

}  // namespace llmhost::engine
