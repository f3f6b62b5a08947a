// How far a long job is: one line redrawn in place on a terminal, otherwise a line of its own every few
// seconds. Speaks to standard error only, so that results on standard output stay clean. [thread-safe]
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <string_view>

namespace llmhost {

enum class ProgressUnit { kCount, kBytes };

struct ProgressState {
  std::string_view title;
  uint64_t done = 0;
  uint64_t total = 0;  // 0: unknown, so no share and no time left
  double seconds = 0;
  ProgressUnit unit = ProgressUnit::kCount;
};

// "loading  45%  1.2 GiB of 2.7 GiB  310.0 MiB/s  4 s left"
std::string format_progress(const ProgressState& state);

// "950 ms", "12 s", "3 min 05 s", "2 h 10 min"
std::string format_duration(double seconds);

// "512 B", "1.5 GiB"
std::string format_bytes(uint64_t bytes);

class Progress {
 public:
  using Clock = std::chrono::steady_clock;

  // Where the text goes; tests put their own here.
  struct Output {
    std::function<void(std::string_view)> write;
    std::function<Clock::time_point()> now;
    bool is_terminal = false;
  };
  static Output standard_error();

  Progress(std::string title, uint64_t total, ProgressUnit unit = ProgressUnit::kCount,
           Output output = standard_error());
  ~Progress();  // finishes
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void advance(uint64_t amount);
  void set_done(uint64_t done);
  // The last line, once; nothing was printed and the job was short: stays silent.
  void finish();

 private:
  void report(Clock::time_point now, bool is_last);

  std::mutex mutex_;
  std::string title_;
  uint64_t total_;
  ProgressUnit unit_;
  Output output_;
  Clock::time_point started_;
  Clock::time_point reported_;
  uint64_t done_ = 0;
  bool has_reported_ = false;
  bool is_finished_ = false;
};

}  // namespace llmhost
