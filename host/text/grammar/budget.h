// What compiling one grammar may cost, on one thread. Everything that grows spends from it, so that a hostile
// source ends with an error instead of the machine's memory.
#pragma once

#include <cstddef>
#include <cstdint>

#include "text/grammar/grammar.h"

namespace llmhost::text::grammar {

class Budget {
 public:
  explicit Budget(const GrammarLimits& limits);

  // A state of an automaton, or as much work. Throws kResourceExhausted naming the limit.
  void spend(size_t states = 1) {
    spent_ += states;
    if (spent_ > limits_.max_states) throw_states();
    work(states);
  }
  // Steps that leave nothing behind.
  void work(size_t steps) {
    steps_ += steps;
    if (steps_ >= kStepsBetweenLooks) look_at_clock();
  }
  const GrammarLimits& limits() const { return limits_; }

 private:
  static constexpr size_t kStepsBetweenLooks = 4096;

  [[noreturn]] void throw_states() const;
  void look_at_clock();

  GrammarLimits limits_;
  int64_t end_;  // of this thread's processor time, in nanoseconds
  size_t spent_ = 0;
  size_t steps_ = 0;
};

}  // namespace llmhost::text::grammar
