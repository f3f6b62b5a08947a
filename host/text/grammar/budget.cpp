#include "text/grammar/budget.h"

#include "core/error.h"

namespace llmhost::text::grammar {

Budget::Budget(const GrammarLimits& limits)
    : limits_(limits),
      end_(std::chrono::steady_clock::now() + std::chrono::milliseconds(limits.max_milliseconds)) {}

void Budget::throw_states() const {
  throw_error(ErrorCode::kResourceExhausted,
              "grammar: it needs more than {} states; lower its repetitions, lengths or alternatives",
              limits_.max_states);
}

void Budget::look_at_clock() {
  steps_ = 0;
  if (std::chrono::steady_clock::now() > end_)
    throw_error(ErrorCode::kResourceExhausted, "grammar: it takes more than {} ms to compile; simplify it",
                limits_.max_milliseconds);
}

}  // namespace llmhost::text::grammar
