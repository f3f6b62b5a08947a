#include "plugin/crash_note.h"

#include <fmt/core.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstddef>

namespace llmhost::plugin {
namespace {

constexpr std::array kSignals = {SIGABRT, SIGSEGV, SIGILL, SIGBUS, SIGFPE};

// Everything the handler touches is prepared before it can run.
std::array<char, 4608> note_text;
size_t note_length = 0;
std::array<struct sigaction, kSignals.size()> previous;
thread_local volatile bool is_loading = false;

void on_signal(int signal) {
  if (is_loading) [[maybe_unused]]
    const ssize_t written = ::write(STDERR_FILENO, note_text.data(), note_length);
  for (size_t i = 0; i < kSignals.size(); ++i)
    if (kSignals[i] == signal) ::sigaction(signal, &previous[i], nullptr);
  // Blocked until this handler returns; then the previous handler or the default gets it.
  ::raise(signal);
}

}  // namespace

CrashNote::CrashNote(std::string_view id, std::string_view path) {
  const auto end = fmt::format_to_n(note_text.data(), note_text.size(),
                                    "llmhost: plugin {} ({}) crashed while being loaded\n", id, path);
  note_length = end.size < note_text.size() ? end.size : note_text.size();
  is_loading = true;
  struct sigaction action {};
  action.sa_handler = on_signal;
  action.sa_flags = SA_ONSTACK;
  for (size_t i = 0; i < kSignals.size(); ++i) ::sigaction(kSignals[i], &action, &previous[i]);
}

CrashNote::~CrashNote() {
  for (size_t i = 0; i < kSignals.size(); ++i) ::sigaction(kSignals[i], &previous[i], nullptr);
  is_loading = false;
}

}  // namespace llmhost::plugin
