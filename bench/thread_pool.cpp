// What a call of the thread pool costs: an empty parallel_for in quick succession, and the time from the call
// to a worker's first item after pauses of several lengths. usage: thread_pool [THREADS [SPIN_US]]
#include "core/thread_pool.h"

#include <fmt/core.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <thread>
#include <vector>

namespace {

using llmhost::ThreadPool;
using Clock = std::chrono::steady_clock;

double us_since(Clock::time_point start) {
  return std::chrono::duration<double, std::micro>(Clock::now() - start).count();
}

// A step's serial part between two regions: the caller stays on its core.
void stay_busy(double us) {
  for (const auto start = Clock::now(); us_since(start) < us;) {
  }
}

double quantile(std::vector<double> values, double q) {
  std::sort(values.begin(), values.end());
  return values[static_cast<size_t>(q * static_cast<double>(values.size() - 1))];
}

void report(const char* what, double pause_us, const std::vector<double>& us) {
  fmt::print(R"({{"what": "{}", "pause_us": {}, "p10_us": {:.2f}, "p50_us": {:.2f}, "p99_us": {:.2f}}})"
             "\n",
             what, pause_us, quantile(us, 0.1), quantile(us, 0.5), quantile(us, 0.99));
}

void empty_calls(ThreadPool& pool, double pause_us) {
  std::vector<double> us;
  for (int i = 0; i < 2000; ++i) {
    if (pause_us > 0) stay_busy(pause_us);
    const auto start = Clock::now();
    pool.parallel_for(pool.n_threads() * 4, [](int64_t, int32_t) {});
    us.push_back(us_since(start));
  }
  report("empty call", pause_us, us);
}

// The caller's items wait for a worker (1 ms at most), whose first item notes the time.
void first_item(ThreadPool& pool, double pause_us, bool sleeps) {
  std::vector<double> us;
  for (int i = 0; i < 500; ++i) {
    if (sleeps)
      std::this_thread::sleep_for(std::chrono::microseconds(static_cast<int64_t>(pause_us)));
    else
      stay_busy(pause_us);
    std::atomic<double> worker{0};
    const auto start = Clock::now();
    pool.parallel_for(pool.n_threads() * 4, [&](int64_t, int32_t thread) {
      if (thread != 0 && worker == 0) worker = us_since(start);
      while (thread == 0 && worker == 0 && us_since(start) < 1000) {
      }
    });
    us.push_back(worker > 0 ? worker.load() : 1000);
  }
  report(sleeps ? "first item, caller slept" : "first item", pause_us, us);
}

}  // namespace

int main(int argc, char** argv) {
  llmhost::ThreadPoolOptions options;
  options.n_threads = argc > 1 ? std::atoi(argv[1]) : 2;
  if (argc > 2) options.spin_us = std::atoi(argv[2]);
  ThreadPool pool(options);
  for (const double pause : {0.0, 5.0, 20.0, 400.0}) empty_calls(pool, pause);
  for (const double pause : {1.0, 5.0, 20.0, 60.0, 200.0, 1000.0}) first_item(pool, pause, false);
  first_item(pool, 5000.0, true);
  return 0;
}
