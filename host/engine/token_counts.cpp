#include "engine/token_counts.h"

#include <bit>

#include "engine/random.h"

namespace llmhost::engine {

void TokenCounts::reset(size_t max_tokens) {
  entries_.clear();
  entries_.reserve(max_tokens);
  slots_.assign(std::bit_ceil(2 * max_tokens + 2), -1);
}

size_t TokenCounts::slot_of(int32_t token) const {
  const size_t mask = slots_.size() - 1;
  size_t slot = mix_bits(static_cast<uint32_t>(token)) & mask;
  while (slots_[slot] >= 0 && entries_[static_cast<size_t>(slots_[slot])].token != token)
    slot = (slot + 1) & mask;
  return slot;
}

TokenCounts::Entry& TokenCounts::find_or_add(int32_t token) {
  const size_t slot = slot_of(token);
  if (slots_[slot] >= 0) return entries_[static_cast<size_t>(slots_[slot])];
  slots_[slot] = static_cast<int32_t>(entries_.size());
  return entries_.emplace_back(Entry{token, 0, false});
}

void TokenCounts::undo_output(int32_t token) {
  const size_t slot = slot_of(token);
  Entry& entry = entries_[static_cast<size_t>(slots_[slot])];
  if (--entry.in_output > 0 || entry.in_prompt) return;
  // It was new then, so it is the last entry, and no other token was placed behind its slot since.
  slots_[slot] = -1;
  entries_.pop_back();
}

}  // namespace llmhost::engine
