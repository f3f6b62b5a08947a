// Prompt lookup: what followed the last occurrence of the text's end in the text itself is proposed to follow
// again. Costs a look through the text, needs no second model; helps where an answer repeats its prompt or
// itself.
#pragma once

#include <cstdint>
#include <span>

#include "engine/speculation.h"

namespace llmhost::engine {

// Where the text goes on after the last earlier occurrence of its longest end of min_length to max_length
// tokens; the text's size when there is none.
size_t find_continuation(std::span<const int32_t> text, int32_t min_length, int32_t max_length);

class LookupProposer final : public Proposer {
 public:
  using Proposer::Proposer;
  void propose(std::span<Sequence* const> sequences) override;
};

}  // namespace llmhost::engine
