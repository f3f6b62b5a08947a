// Ctrl-C as a flag that loops look at between steps, while an object lives; before and after, as it was.
#pragma once

#include <csignal>

namespace llmhost::cli {

class InterruptScope {
 public:
  enum class Mode {
    kOnce,   // a second Ctrl-C ends the program
    kAlways  // every one only sets the flag
  };
  explicit InterruptScope(Mode mode);
  ~InterruptScope();
  InterruptScope(const InterruptScope&) = delete;
  InterruptScope& operator=(const InterruptScope&) = delete;

  static bool pending();
  static void reset();

 private:
  struct sigaction before_ {};
};

}  // namespace llmhost::cli
