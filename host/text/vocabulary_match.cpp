#include "text/vocabulary_match.h"

#include <algorithm>
#include <cstdlib>
#include <string>

#include "core/error.h"

namespace llmhost::text {

void require_same_vocabulary(const Tokenizer& a, std::string_view name_a, const Tokenizer& b,
                             std::string_view name_b) {
  constexpr int32_t kMostPadding = 1024;
  if (std::abs(a.vocab_size() - b.vocab_size()) > kMostPadding)
    throw_invalid(
        "the vocabulary of {} has {} tokens, that of {} has {}: a draft model needs the same vocabulary",
        name_a, a.vocab_size(), name_b, b.vocab_size());
  for (int32_t id = 0; id < std::min(a.vocab_size(), b.vocab_size()); ++id) {
    const std::string piece_a = a.piece_of(id);
    const std::string piece_b = b.piece_of(id);
    if (piece_a != piece_b)
      throw_invalid("token {} is '{}' in {} and '{}' in {}: a draft model needs the same vocabulary", id,
                    piece_a, name_a, piece_b, name_b);
  }
}

}  // namespace llmhost::text
