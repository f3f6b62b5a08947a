#include "core/thread_pool.h"

#include <doctest/doctest.h>
#include <sys/resource.h>

#include <atomic>
#include <chrono>
#include <numeric>
#include <thread>
#include <vector>

#include "core/error.h"

using llmhost::ThreadPool;

TEST_CASE("every item runs exactly once, on a thread in range, for any number of threads") {
  for (int32_t threads : {1, 2, 3, 8}) {
    ThreadPool pool(threads);
    CHECK(pool.n_threads() == threads);
    for (int64_t items : {0, 1, 2, 7, 1000}) {
      std::vector<int> hits(static_cast<size_t>(items), 0);
      std::atomic<bool> in_range{true};
      pool.parallel_for(items, [&](int64_t item, int32_t thread) {
        ++hits[static_cast<size_t>(item)];
        if (thread < 0 || thread >= threads) in_range = false;
      });
      CHECK(std::accumulate(hits.begin(), hits.end(), int64_t{0}) == items);
      for (int hit : hits) REQUIRE(hit == 1);
      CHECK(in_range);
    }
  }
}

TEST_CASE("what the items wrote is visible to the caller, over many short calls with and without pauses") {
  ThreadPool pool(4);
  std::vector<int64_t> sums(64, 0);
  for (int round = 1; round <= 3000; ++round) {
    pool.parallel_for(64, [&](int64_t item, int32_t) { sums[static_cast<size_t>(item)] += item; });
    for (int64_t i = 0; i < 64; ++i) REQUIRE(sums[static_cast<size_t>(i)] == i * round);
    if (round % 500 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
}

TEST_CASE("the C table runs the same pool") {
  ThreadPool pool(2);
  const llmh_thread_pool* api = pool.api();
  CHECK(api->struct_size == sizeof(llmh_thread_pool));
  CHECK(api->n_threads == 2);
  std::atomic<int64_t> sum{0};
  api->parallel_for(
      api, 100,
      [](void* context, int64_t item, int32_t) { *static_cast<std::atomic<int64_t>*>(context) += item; },
      &sum);
  CHECK(sum == 4950);
}

TEST_CASE("a call inside a call does its items on its own thread") {
  ThreadPool pool(2);
  std::atomic<int64_t> count{0};
  pool.parallel_for(8, [&](int64_t, int32_t) { pool.parallel_for(8, [&](int64_t, int32_t) { ++count; }); });
  CHECK(count == 64);
}

TEST_CASE("an idle pool uses no CPU") {
  ThreadPool pool(2);
  pool.parallel_for(2, [](int64_t, int32_t) {});
  const auto cpu_seconds = [] {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    return static_cast<double>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           1e-6 * static_cast<double>(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
  };
  std::this_thread::sleep_for(std::chrono::milliseconds(5));
  const double before = cpu_seconds();
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  // A thread that spins would use 0.3 s; the margin is for the sanitizer's own background thread.
  CHECK(cpu_seconds() - before < 0.05);
}

TEST_CASE("a thread count out of range is refused with the range") {
  CHECK_THROWS_WITH_AS(ThreadPool(-1), "threads: got -1, expected 0 (all cores) to 1024", llmhost::Error);
  CHECK_THROWS_AS(ThreadPool(5000), llmhost::Error);
}
