#include "cli/chat_interrupt.h"

namespace llmhost::cli {
namespace {

volatile std::sig_atomic_t interrupted = 0;

extern "C" void note_interrupt(int) {
  interrupted = 1;
}

}  // namespace

InterruptScope::InterruptScope(Mode mode) {
  reset();
  struct sigaction action {};
  action.sa_handler = note_interrupt;
  sigemptyset(&action.sa_mask);
  action.sa_flags = SA_RESTART | (mode == Mode::kOnce ? static_cast<int>(SA_RESETHAND) : 0);
  sigaction(SIGINT, &action, &before_);
}

InterruptScope::~InterruptScope() {
  sigaction(SIGINT, &before_, nullptr);
}

bool InterruptScope::pending() {
  return interrupted != 0;
}

void InterruptScope::reset() {
  interrupted = 0;
}

}  // namespace llmhost::cli
