#include "core/thread_pool.h"

#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <climits>

#include "core/error.h"

namespace llmhost {
namespace {

constexpr uint64_t kOpen = uint64_t{1} << 31;
constexpr uint64_t kInside = kOpen - 1;

void futex_wait(std::atomic<uint32_t>& word, uint32_t expected) {
  syscall(SYS_futex, reinterpret_cast<uint32_t*>(&word), FUTEX_WAIT_PRIVATE, expected, nullptr, nullptr, 0);
}

void futex_wake(std::atomic<uint32_t>& word, int count) {
  syscall(SYS_futex, reinterpret_cast<uint32_t*>(&word), FUTEX_WAKE_PRIVATE, count, nullptr, nullptr, 0);
}

void pause() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Polls `done` for the spin budget; whether it came true.
template <typename F>
bool spin_until(F&& done) {
  const auto end =
      std::chrono::steady_clock::now() + std::chrono::microseconds(ThreadPool::kSpinMicroseconds);
  do {
    for (int i = 0; i < 16; ++i) {
      if (done()) return true;
      pause();
    }
  } while (std::chrono::steady_clock::now() < end);
  return done();
}

int32_t checked_threads(int32_t n_threads) {
  if (n_threads < 0 || n_threads > ThreadPool::kMaxThreads)
    throw_invalid("threads: got {}, expected 0 (all cores) to {}", n_threads, ThreadPool::kMaxThreads);
  return n_threads == 0 ? std::min(available_cores(), ThreadPool::kMaxThreads) : n_threads;
}

}  // namespace

int32_t available_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) == 0) return std::max(1, CPU_COUNT(&set));
  return std::max(1, static_cast<int32_t>(std::thread::hardware_concurrency()));
}

ThreadPool::ThreadPool(int32_t n_threads) {
  const int32_t count = checked_threads(n_threads);
  api_.struct_size = sizeof(llmh_thread_pool);
  api_.n_threads = count;
  api_.pool = this;
  api_.parallel_for = [](const llmh_thread_pool* pool, int64_t n_items, Body body, void* context) {
    static_cast<const Api*>(pool)->pool->parallel_for(n_items, body, context);
  };
  spins_ = count <= available_cores();
  workers_.reserve(static_cast<size_t>(count - 1));
  for (int32_t i = 1; i < count; ++i) workers_.emplace_back([this, i] { work(i); });
}

ThreadPool::~ThreadPool() {
  stop_.store(true);
  calls_.fetch_add(1);
  futex_wake(calls_, INT_MAX);
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::parallel_for(int64_t n_items, Body body, void* context) {
  if (n_items <= 0) return;
  const bool alone = n_items == 1 || workers_.empty() || busy_.exchange(true, std::memory_order_acquire);
  if (alone) {
    for (int64_t i = 0; i < n_items; ++i) body(context, i, 0);
    return;
  }
  body_ = body;
  context_ = context;
  n_items_ = n_items;
  next_.store(0, std::memory_order_relaxed);
  const uint32_t call = calls_.load(std::memory_order_relaxed) + 1;
  gate_.store((uint64_t{call} << 32) | kOpen, std::memory_order_release);
  // Sequentially consistent with `sleepers_`: either we see the sleeper or its futex_wait sees the new
  // number.
  calls_.store(call);
  if (sleepers_.load() > 0) futex_wake(calls_, static_cast<int>(std::min<int64_t>(n_items - 1, INT_MAX)));
  run_items(0);
  wait_for_workers();
  busy_.store(false, std::memory_order_release);
}

void ThreadPool::run_items(int32_t thread) {
  for (;;) {
    const int64_t item = next_.fetch_add(1, std::memory_order_relaxed);
    if (item >= n_items_) return;
    body_(context_, item, thread);
  }
}

bool ThreadPool::enter() {
  uint64_t gate = gate_.load(std::memory_order_acquire);
  while ((gate & kOpen) != 0) {
    if (gate_.compare_exchange_weak(gate, gate + 1, std::memory_order_acq_rel, std::memory_order_acquire))
      return true;
  }
  return false;
}

void ThreadPool::leave() {
  const uint64_t before = gate_.fetch_sub(1);
  const bool last = (before & kInside) == 1 && (before & kOpen) == 0;
  if (last && caller_sleeps_.load() != 0 && caller_sleeps_.exchange(0) != 0) futex_wake(caller_sleeps_, 1);
}

void ThreadPool::wait_for_workers() {
  gate_.fetch_and(~kOpen);
  const auto empty = [this] { return (gate_.load(std::memory_order_acquire) & kInside) == 0; };
  if (empty() || (spins_ && spin_until(empty))) return;
  for (;;) {
    caller_sleeps_.store(1);
    // The last worker leaves before it looks at caller_sleeps_, so one of the two sees the other.
    if ((gate_.load() & kInside) == 0) break;
    futex_wait(caller_sleeps_, 1);
  }
  caller_sleeps_.store(0);
}

uint32_t ThreadPool::wait_for_call(uint32_t seen) {
  const auto called = [this, seen] { return calls_.load(std::memory_order_acquire) != seen; };
  if (!(spins_ && spin_until(called))) {
    sleepers_.fetch_add(1);
    while (calls_.load() == seen) futex_wait(calls_, seen);
    sleepers_.fetch_sub(1);
  }
  return calls_.load(std::memory_order_acquire);
}

void ThreadPool::work(int32_t thread) {
  uint32_t seen = 0;
  for (;;) {
    seen = wait_for_call(seen);
    if (stop_.load()) return;
    if (!enter()) continue;
    run_items(thread);
    leave();
  }
}

}  // namespace llmhost
