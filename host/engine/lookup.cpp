#include "engine/lookup.h"

#include <algorithm>

#include "engine/sequence.h"

namespace llmhost::engine {

size_t find_continuation(std::span<const int32_t> text, int32_t min_length, int32_t max_length) {
  size_t best = text.size();
  auto longest = static_cast<size_t>(min_length - 1);
  if (text.size() <= longest) return best;
  const size_t most = std::min(static_cast<size_t>(max_length), text.size() - 1);
  // From the back, so that of equally long matches the latest is found first.
  for (size_t end = text.size() - 1; end > longest; --end) {
    if (text[end - 1] != text.back()) continue;
    size_t length = 1;
    while (length < std::min(most, end) && text[end - 1 - length] == text[text.size() - 1 - length]) ++length;
    if (length <= longest) continue;
    best = end;
    longest = length;
    if (longest == most) break;
  }
  return best;
}

void LookupProposer::propose(std::span<Sequence* const> sequences) {
  for (Sequence* const sequence : sequences) {
    const std::span<const int32_t> text = sequence->tokens;
    size_t next = find_continuation(text, options().ngram_min, options().ngram_max);
    if (next == text.size()) continue;
    // A text that repeats itself with a short period goes on in its own proposals.
    for (int32_t i = room(*sequence); i > 0; --i, ++next)
      sequence->proposals.push(next < text.size() ? text[next]
                                                  : sequence->proposals.tokens()[next - text.size()]);
  }
}

}  // namespace llmhost::engine
