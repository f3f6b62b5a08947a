#include "engine/kept_states.h"

#include <algorithm>

namespace llmhost::engine {

void KeptStates::keep(uint64_t id, std::vector<int32_t> tokens, int64_t prompt_length, PageTable pages) {
  n_pages_ += pages.size();
  states_.push_back({id, std::move(tokens), prompt_length, std::move(pages)});
}

std::list<KeptStates::State>::iterator KeptStates::find(uint64_t id) {
  return std::find_if(states_.begin(), states_.end(), [id](const State& state) { return state.id == id; });
}

KeptStates::Claim KeptStates::claim(uint64_t id, std::span<const int32_t> prompt,
                                    int64_t length_dependent_from, int32_t page_tokens,
                                    PageAllocator& allocator) {
  Claim claim;
  const auto state = find(id);
  if (state == states_.end()) return claim;
  const auto mismatch =
      std::mismatch(state->tokens.begin(), state->tokens.end(), prompt.begin(), prompt.end()).first;
  const int64_t common = mismatch - state->tokens.begin();
  const auto length = static_cast<int64_t>(prompt.size());
  const bool same_scaling = length <= length_dependent_from && state->prompt_length <= length_dependent_from;
  claim.computed = same_scaling ? std::min(common, length - 1) : 0;
  claim.pages = std::move(state->pages);
  n_pages_ -= claim.pages.size();
  states_.erase(state);
  claim.pages.shrink_to(pages_for(claim.computed, page_tokens), allocator);
  return claim;
}

bool KeptStates::evict_one(PageAllocator& allocator) {
  if (states_.empty()) return false;
  n_pages_ -= states_.front().pages.size();
  states_.front().pages.shrink_to(0, allocator);
  states_.pop_front();
  return true;
}

void KeptStates::release(uint64_t id, PageAllocator& allocator) {
  const auto state = find(id);
  if (state == states_.end()) return;
  n_pages_ -= state->pages.size();
  state->pages.shrink_to(0, allocator);
  states_.erase(state);
}

}  // namespace llmhost::engine
