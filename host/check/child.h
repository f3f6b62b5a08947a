// One piece of work in a process of its own.
#pragma once

#include <functional>
#include <string>
#include <string_view>

namespace llmhost::check {

// Thrown by a case that has nothing to check.
struct Skipped {
  std::string reason;
};

struct ChildOutcome {
  bool ok = false;
  bool skipped = false;
  std::string message;
  double seconds = 0;
};

// Forks, runs `work` there and waits. Its result is the note of a success; what it throws, a signal, an exit
// or the end of the time are failures, with what at() said last and the last line that was written to
// standard error. The caller must have no other threads.
ChildOutcome run_in_child(const std::function<std::string()>& work, double timeout_seconds);

// In such a process: what is about to be done, for the message should it be the end. One line. Free of
// allocation; does nothing elsewhere.
void at(std::string_view what) noexcept;

}  // namespace llmhost::check
