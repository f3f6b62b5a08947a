// What one render may use: steps, nesting and live memory. Values charge the meter of the thread's running
// render, so that a hostile template stops at a limit instead of taking the process with it. Exceeding a
// limit throws Fault.
#pragma once

#include <fmt/core.h>

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <utility>

namespace llmhost::text::jinja {

struct Limits {
  uint64_t max_steps = 2'000'000;  // evaluated nodes, iterations, and 1 for each 64 bytes that are worked on
  size_t max_output_bytes = size_t{16} << 20;  // the rendered text
  size_t max_memory_bytes = size_t{32} << 20;  // strings and containers alive at once that the template made
  int max_macro_depth = 200;                   // macros, recursive loops and blocks inside each other
  int max_eval_depth = 2000;                   // syntax nodes being evaluated at once
};

// A failure with no position yet; the interpreter adds the place and throws TemplateError.
class Fault : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

template <typename... Args>
[[noreturn]] void fail(fmt::format_string<Args...> format, Args&&... args) {
  throw Fault(fmt::format(format, std::forward<Args>(args)...));
}

class Meter {
 public:
  explicit Meter(const Limits& limits) : limits_(limits) {}
  const Limits& limits() const { return limits_; }

  void step(uint64_t count = 1) {
    steps_ += count;
    if (steps_ > limits_.max_steps) fail("the template takes more than {} steps", limits_.max_steps);
  }
  void take(size_t bytes) {
    check(bytes);
    live_ += bytes;
  }
  void give_back(size_t bytes) { live_ -= bytes; }
  void check(size_t bytes) const {
    if (bytes > limits_.max_memory_bytes || live_ > limits_.max_memory_bytes - bytes)
      fail("the template needs more than {} bytes of memory", limits_.max_memory_bytes);
  }

  // The meter of the render that runs on this thread; null outside of one.
  static Meter*& current();
  // For sizes known before the allocation (repetition, padding): charges the work and checks the memory.
  static void expect_bytes(size_t bytes) {
    if (Meter* meter = current()) {
      meter->check(bytes);
      meter->step(bytes / 64);
    }
  }
  static void work(uint64_t count) {
    if (Meter* meter = current()) meter->step(count);
  }

 private:
  Limits limits_;
  uint64_t steps_ = 0;
  size_t live_ = 0;
};

// Makes a meter the thread's current one for a scope.
class MeterScope {
 public:
  explicit MeterScope(Meter& meter) : previous_(std::exchange(Meter::current(), &meter)) {}
  ~MeterScope() { Meter::current() = previous_; }
  MeterScope(const MeterScope&) = delete;
  MeterScope& operator=(const MeterScope&) = delete;

 private:
  Meter* previous_;
};

// Base of heap nodes: charges their bytes while they live.
class Tracked {
 public:
  explicit Tracked(size_t bytes) : meter_(Meter::current()), bytes_(bytes) {
    if (meter_ != nullptr) meter_->take(bytes_);
  }
  ~Tracked() {
    if (meter_ != nullptr) meter_->give_back(bytes_);
  }
  Tracked(const Tracked&) = delete;
  Tracked& operator=(const Tracked&) = delete;

 private:
  Meter* meter_;
  size_t bytes_;
};

}  // namespace llmhost::text::jinja
