#include "core/thread_pool.h"

#include <doctest/doctest.h>
#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <numeric>
#include <thread>
#include <vector>

#include "core/cpus.h"
#include "core/error.h"

using llmhost::ThreadPool;
using llmhost::ThreadPoolOptions;

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

double cpu_seconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
         1e-6 * static_cast<double>(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

TEST_CASE("an idle pool uses no CPU, whatever its threads spin for") {
  ThreadPoolOptions options;
  options.n_threads = 2;
  options.spin_us = 5000;
  ThreadPool pool(options);
  pool.parallel_for(2, [](int64_t, int32_t) {});
  std::this_thread::sleep_for(std::chrono::milliseconds(10));
  const double before = cpu_seconds();
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  // A thread that spins would use 0.3 s; the margin is for the sanitizer's own background thread.
  CHECK(cpu_seconds() - before < 0.05);
}

TEST_CASE("calls that are rare are not waited for by spinning") {
  ThreadPoolOptions options;
  options.n_threads = 2;
  options.spin_us = 4000;
  ThreadPool pool(options);
  const double before = cpu_seconds();
  for (int i = 0; i < 40; ++i) {
    pool.parallel_for(2, [](int64_t, int32_t) {});
    std::this_thread::sleep_for(std::chrono::milliseconds(8));
  }
  // With the whole budget each time a worker would spin for 0.16 s.
  CHECK(cpu_seconds() - before < 0.08);
}

TEST_CASE("items are dealt in contiguous shares of nearly equal size") {
  for (int32_t threads : {2, 3, 5}) {
    ThreadPool pool(threads);
    for (int64_t items : {5, 7, 64}) {
      // Every thread stays in its first item until all have one, so that nothing is stolen before.
      std::atomic<int32_t> began{0};
      std::vector<int64_t> first(static_cast<size_t>(threads), -1);
      pool.parallel_for(items, [&](int64_t item, int32_t thread) {
        if (first[static_cast<size_t>(thread)] >= 0) return;
        first[static_cast<size_t>(thread)] = item;
        ++began;
        while (began < threads) std::this_thread::yield();
      });
      for (int32_t i = 0; i < threads; ++i)
        CHECK(first[static_cast<size_t>(i)] == (items * i + threads - 1) / threads);
    }
  }
}

TEST_CASE("a call does not wait for workers that have not begun") {
  // Many more threads than cores, whose workers sleep: the caller finishes short calls by itself.
  ThreadPool pool(64);
  std::atomic<int64_t> count{0};
  for (int i = 0; i < 100; ++i) pool.parallel_for(64, [&](int64_t, int32_t) { ++count; });
  CHECK(count == 6400);
}

TEST_CASE("who has finished takes what a slow thread has left") {
  ThreadPool pool(2);
  // Worker or caller, whoever takes item 0 stays in it until the rest is done.
  std::atomic<int64_t> rest{0};
  pool.parallel_for(50, [&](int64_t item, int32_t) {
    if (item == 0)
      while (rest < 49) std::this_thread::yield();
    else
      ++rest;
  });
  CHECK(rest == 49);
}

TEST_CASE("threads that are pinned do the same work, and the caller is free again afterwards") {
  const auto allowed = llmhost::available_cpus();
  {
    ThreadPoolOptions options;
    options.n_threads = 3;
    options.pin = true;
    ThreadPool pool(options);
    std::atomic<int64_t> sum{0};
    std::atomic<bool> one_each{true};
    for (int i = 0; i < 50; ++i)
      pool.parallel_for(30, [&](int64_t item, int32_t) {
        sum += item;
        if (llmhost::available_cpus().size() != 1) one_each = false;
      });
    CHECK(sum == 50 * 435);
    CHECK(one_each);
  }
  CHECK(llmhost::available_cpus() == allowed);
  CHECK(llmhost::nodes_of(allowed).size() == allowed.size());
}

TEST_CASE("calls of several threads at once each do all their items") {
  ThreadPool pool(3);
  std::atomic<int64_t> count{0};
  std::vector<std::thread> callers;
  for (int i = 0; i < 3; ++i)
    callers.emplace_back([&] {
      for (int call = 0; call < 200; ++call) pool.parallel_for(10, [&](int64_t, int32_t) { ++count; });
    });
  for (std::thread& caller : callers) caller.join();
  CHECK(count == 6000);
}

TEST_CASE("a thread count out of range is refused with the range") {
  CHECK_THROWS_WITH_AS(ThreadPool(-1), "threads: got -1, expected 0 (all cores) to 1024", llmhost::Error);
  CHECK_THROWS_AS(ThreadPool(5000), llmhost::Error);
}
