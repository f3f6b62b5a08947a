#include "engine/token_counts.h"

#include <bit>

#include "engine/random.h"

namespace llmhost::engine {

void TokenCounts::reset(size_t max_tokens) {
  entries_.clear();
  entries_.reserve(max_tokens);
  slots_.assign(std::bit_ceil(2 * max_tokens + 2), -1);
}

TokenCounts::Entry& TokenCounts::find_or_add(int32_t token) {
  const size_t mask = slots_.size() - 1;
  size_t slot = mix_bits(static_cast<uint32_t>(token)) & mask;
  while (slots_[slot] >= 0) {
    Entry& entry = entries_[static_cast<size_t>(slots_[slot])];
    if (entry.token == token) return entry;
    slot = (slot + 1) & mask;
  }
  slots_[slot] = static_cast<int32_t>(entries_.size());
  return entries_.emplace_back(Entry{token, 0});
}

}  // namespace llmhost::engine
