// The host's one pool of threads, lent to plugins as llmh_thread_pool.
//
// The items of a call are dealt to the threads in contiguous shares, the caller's first: the same items of a
// call that comes again meet the same thread and its caches. Who has finished its share takes items from the
// others' ends. A call never waits for a worker that has not begun, only for one that holds an item: on a
// machine whose cores are busy elsewhere it degrades to what the caller gets done alone. Workers and caller
// spin for a bounded time (not at all with more threads than cores, less while calls are rare or the machine
// is busy) and then sleep: an idle pool costs no CPU. No allocation per call. One call at a time; a call that
// comes while another runs does its items on its own thread.
#pragma once

#include <sched.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>
#include <type_traits>
#include <vector>

#include "core/cpus.h"
#include "core/spin_wait.h"
#include "llmhost/plugin.h"

namespace llmhost {

struct ThreadPoolOptions {
  int32_t n_threads = 0;  // the caller included; 0 means available_cores()
  int64_t spin_us = SpinWait::kDefaultMicroseconds;
  // Thread i stays on the i-th of the allowed processors, round robin, the caller from its first call on.
  // With processors of several memory nodes a worker then takes no items from another node's threads.
  bool pin = false;
};

class ThreadPool {
 public:
  static constexpr int32_t kMaxThreads = 1024;
  using Body = void (*)(void* context, int64_t item, int32_t thread);

  // Throws kInvalidArgument when there are fewer than 0 or more than kMaxThreads threads.
  explicit ThreadPool(const ThreadPoolOptions& options);
  explicit ThreadPool(int32_t n_threads = 0) : ThreadPool(ThreadPoolOptions{n_threads}) {}
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int32_t n_threads() const { return api_.n_threads; }

  // Runs body(context, i, thread) for every i in [0, n_items); returns when all have returned.
  void parallel_for(int64_t n_items, Body body, void* context);

  // The same for a callable (int64_t item, int32_t thread); it must not throw.
  template <typename F>
  void parallel_for(int64_t n_items, F&& body) {
    using Callable = std::remove_reference_t<F>;
    parallel_for(
        n_items,
        [](void* context, int64_t item, int32_t thread) { (*static_cast<Callable*>(context))(item, thread); },
        const_cast<void*>(static_cast<const void*>(&body)));
  }

  // For llmh_open_args and the host extension; valid as long as the pool.
  const llmh_thread_pool* api() const { return &api_; }

 private:
  struct Api : llmh_thread_pool {
    ThreadPool* pool = nullptr;
  };
  // What is left of a thread's share: the first item in the lower half, one past the last in the upper. Only
  // takers change it while a call runs, so whoever changes it holds an item that the call waits for.
  struct alignas(64) Share {
    std::atomic<uint64_t> items{0};
    std::vector<int32_t> victims;  // threads to take from, in this order
  };

  void choose_victims(const std::vector<int32_t>& nodes);
  void stop_workers();
  void work(int32_t thread);
  void run_call(int64_t n_items);
  void deal(uint32_t n_items);
  int64_t run_items(int32_t thread);
  void report(int64_t n_done, long put_off);
  uint32_t wait_for_call(uint32_t seen, SpinWait& spin);
  void wait_for_workers(int64_t n_items);
  bool shares_core_with_caller() const;
  void choose_core(int64_t& moved_ns, uint32_t& gathered);
  void pin_caller();

  Api api_{};
  int64_t spin_ns_ = 0;
  std::vector<int32_t> cpus_;  // to pin to; empty: threads go where they like
  std::thread::id pinned_caller_;
  cpu_set_t caller_cpus_{};
  std::unique_ptr<Share[]> shares_;  // [n_threads]
  BusyMachine busy_machine_;
  Gathering gathering_;
  SpinWait caller_spin_;
  std::vector<std::thread> workers_;

  // The call that runs: written by the caller while no thread holds an item.
  Body body_ = nullptr;
  void* context_ = nullptr;
  int64_t first_item_ = 0;

  alignas(64) std::atomic<int64_t> done_{0};    // items that workers have done and reported
  alignas(64) std::atomic<uint32_t> calls_{0};  // workers sleep on it
  std::atomic<uint32_t> sleepers_{0};
  std::atomic<int32_t> caller_cpu_{-1};                 // where the call was made
  alignas(64) std::atomic<uint32_t> caller_sleeps_{0};  // the caller sleeps on it
  std::atomic<bool> crowded_{false};                    // a worker of this call is on the caller's core
  std::atomic<bool> was_put_off_{false};                // the worker that the caller slept for
  std::atomic<bool> stop_{false};
  std::atomic<bool> busy_{false};
};

}  // namespace llmhost
