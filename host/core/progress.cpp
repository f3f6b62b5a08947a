#include "core/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <utility>

namespace llmhost {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kTerminalInterval{100};
constexpr milliseconds kLogInterval{5000};

std::string format_amount(double amount, ProgressUnit unit) {
  if (unit == ProgressUnit::kBytes) return format_bytes(static_cast<uint64_t>(amount));
  return amount < 100 && amount != std::floor(amount) ? fmt::format("{:.1f}", amount)
                                                      : fmt::format("{:.0f}", amount);
}

}  // namespace

std::string format_duration(double seconds) {
  if (seconds < 1) return fmt::format("{:.0f} ms", seconds * 1000);
  // Beyond this an estimate says nothing, and the conversion below would overflow.
  if (!(seconds < 1e9)) return "very long";
  const auto whole = static_cast<uint64_t>(std::llround(seconds));
  if (whole < 60) return fmt::format("{} s", whole);
  if (whole < 3600) return fmt::format("{} min {:02} s", whole / 60, whole % 60);
  return fmt::format("{} h {:02} min", whole / 3600, whole % 3600 / 60);
}

std::string format_bytes(uint64_t bytes) {
  constexpr std::array<std::string_view, 6> kUnits = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  if (bytes < 1024) return fmt::format("{} B", bytes);
  auto value = static_cast<double>(bytes) / 1024;
  size_t unit = 0;
  while (value >= 1024 && unit + 1 < kUnits.size()) {
    value /= 1024;
    ++unit;
  }
  return fmt::format("{:.1f} {}", value, kUnits[unit]);
}

std::string format_progress(const ProgressState& state) {
  const auto done = static_cast<double>(state.done);
  const auto total = static_cast<double>(state.total);
  const double rate = state.seconds > 0 ? done / state.seconds : 0;
  std::string line(state.title);
  if (state.total > 0) line += fmt::format("  {:.0f}%", std::floor(100 * std::min(1.0, done / total)));
  line += "  " + format_amount(done, state.unit);
  if (state.total > 0) line += " of " + format_amount(total, state.unit);
  if (rate > 0) line += fmt::format("  {}/s", format_amount(rate, state.unit));
  if (rate > 0 && done < total) line += fmt::format("  {} left", format_duration((total - done) / rate));
  if (state.total > 0 && done >= total) line += fmt::format("  in {}", format_duration(state.seconds));
  return line;
}

Progress::Output Progress::standard_error() {
  const char* terminal = std::getenv("TERM");
  const bool is_dumb = terminal != nullptr && std::string_view(terminal) == "dumb";
  return {[](std::string_view text) {
            std::fwrite(text.data(), 1, text.size(), stderr);
            std::fflush(stderr);
          },
          [] { return Clock::now(); }, ::isatty(STDERR_FILENO) == 1 && !is_dumb};
}

Progress::Progress(std::string title, uint64_t total, ProgressUnit unit, Output output)
    : title_(std::move(title)),
      total_(total),
      unit_(unit),
      output_(std::move(output)),
      started_(output_.now()),
      reported_(started_) {}

Progress::~Progress() {
  finish();
}

void Progress::advance(uint64_t amount) {
  const std::lock_guard lock(mutex_);
  done_ += amount;
  report(output_.now(), false);
}

void Progress::set_done(uint64_t done) {
  const std::lock_guard lock(mutex_);
  done_ = done;
  report(output_.now(), false);
}

void Progress::finish() {
  const std::lock_guard lock(mutex_);
  if (is_finished_) return;
  is_finished_ = true;
  if (has_reported_) report(output_.now(), true);
}

void Progress::report(Clock::time_point now, bool is_last) {
  const milliseconds interval = output_.is_terminal ? kTerminalInterval : kLogInterval;
  if (!is_last && now - reported_ < interval) return;
  reported_ = now;
  has_reported_ = true;
  const double seconds = std::chrono::duration<double>(now - started_).count();
  const std::string line = format_progress({title_, done_, total_, seconds, unit_});
  if (output_.is_terminal)
    output_.write(fmt::format("\r\033[K{}{}", line, is_last ? "\n" : ""));
  else
    output_.write(line + "\n");
}

}  // namespace llmhost
