// Waiting for another thread by polling, for a bounded time, before it is worth sleeping.
#pragma once

#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>

namespace llmhost {

inline int64_t steady_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

inline void pause_cpu() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// How often the calling thread was put off its core.
inline long times_put_off() {
  rusage usage{};
  getrusage(RUSAGE_THREAD, &usage);
  return usage.ru_nivcsw;
}

// Whether other processes want the cores: known for a while after a thread was put off its core. Threads that
// then sleep between calls rather than spin get their turn sooner, and together more of the machine.
class BusyMachine {
 public:
  static constexpr int64_t kRememberNs = 20'000'000;
  static constexpr int64_t kLookEveryNs = 1'000'000;

  void notice(int64_t now_ns) { until_.store(now_ns + kRememberNs, std::memory_order_relaxed); }
  bool is_busy(int64_t now_ns) const { return now_ns < until_.load(std::memory_order_relaxed); }

  // Whether the calling thread, always the same one or ordered with it, lost its core since it last asked.
  void look(int64_t now_ns) {
    if (now_ns - looked_ns_ < kLookEveryNs) return;
    looked_ns_ = now_ns;
    const long put_off = times_put_off();
    if (put_off != put_off_) notice(now_ns);
    put_off_ = put_off;
  }

 private:
  int64_t looked_ns_ = 0;
  long put_off_ = 0;
  std::atomic<int64_t> until_{0};
};

// Whether workers are better off on the caller's core: one that is put off another core while it holds an
// item keeps the caller waiting, while two threads of one core are served in turn. Known for a while after
// such a wait, longer when the next one follows soon. Written by the caller alone.
class Gathering {
 public:
  static constexpr int64_t kShortestNs = 20'000'000;
  static constexpr int64_t kLongestNs = 640'000'000;

  void begin(int64_t now_ns) {
    const bool soon = now_ns - until_.load(std::memory_order_relaxed) < 2 * length_ns_;
    length_ns_ = soon ? std::min(2 * length_ns_, kLongestNs) : std::max(length_ns_ / 2, kShortestNs);
    until_.store(now_ns + length_ns_, std::memory_order_relaxed);
    ++count_;
  }
  bool is_on(int64_t now_ns) const { return now_ns < until_.load(std::memory_order_relaxed); }
  uint32_t count() const { return count_.load(std::memory_order_relaxed); }

 private:
  int64_t length_ns_ = kShortestNs;
  std::atomic<int64_t> until_{0};
  std::atomic<uint32_t> count_{0};
};

// One thread's spinning. The budget shrinks while waits turn out to be longer than it and is whole again
// after one that was shorter; on a busy machine it is kBusyNs, since the core is better used by who has work.
class SpinWait {
 public:
  static constexpr int64_t kDefaultMicroseconds = 200;
  static constexpr int64_t kBusyNs = 30'000;
  static constexpr int64_t kLostCoreNs = 400'000;  // between two looks at the clock

  SpinWait(int64_t budget_ns, BusyMachine& machine)
      : full_(budget_ns), budget_(budget_ns), machine_(&machine) {}

  // Polls `done` for the budget, or until `in_vain`; whether it came true.
  template <typename F, typename G>
  bool until(F&& done, G&& in_vain) {
    if (done()) return true;
    started_ = steady_ns();
    const int64_t budget = machine_->is_busy(started_) ? std::min(budget_, kBusyNs) : budget_;
    for (int64_t before = started_; before - started_ < budget && !in_vain();) {
      for (int i = 0; i < 16; ++i) {
        if (done()) {
          budget_ = full_;
          return true;
        }
        pause_cpu();
      }
      const int64_t now = steady_ns();
      if (now - before > kLostCoreNs) machine_->notice(now);
      before = now;
    }
    return done();
  }

  // After until() was in vain and what was waited for has come.
  void slept() {
    const bool was_short = steady_ns() - started_ <= full_;
    budget_ = was_short ? full_ : std::max(budget_ / 2, full_ / 16);
  }

 private:
  int64_t full_;
  int64_t budget_;
  int64_t started_ = 0;
  BusyMachine* machine_;
};

}  // namespace llmhost
