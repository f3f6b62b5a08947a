#include "text/grammar/budget.h"

#include <ctime>

#include "core/error.h"

namespace llmhost::text::grammar {
namespace {

// Processor time: what a machine has to do besides must not decide what compiles.
int64_t thread_nanoseconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

}  // namespace

Budget::Budget(const GrammarLimits& limits)
    : limits_(limits), end_(thread_nanoseconds() + limits.max_milliseconds * 1'000'000) {}

void Budget::throw_states() const {
  throw_error(ErrorCode::kResourceExhausted,
              "grammar: it needs more than {} states; lower its repetitions, lengths or alternatives",
              limits_.max_states);
}

void Budget::look_at_clock() {
  steps_ = 0;
  if (thread_nanoseconds() > end_)
    throw_error(ErrorCode::kResourceExhausted, "grammar: it takes more than {} ms to compile; simplify it",
                limits_.max_milliseconds);
}

}  // namespace llmhost::text::grammar
