// The host's one pool of threads, lent to plugins as llmh_thread_pool.
//
// parallel_for hands items out one by one through an atomic counter; the caller works too. A call never waits
// for a worker that has not begun: once the items are handed out the call closes and waits only for workers
// inside it. So on a machine whose cores are busy elsewhere it degrades to what the caller gets done alone.
// Workers and caller spin for at most kSpinMicroseconds (not at all when there are more threads than cores)
// and then sleep: an idle pool costs no CPU. No allocation per call. One call at a time; a call that comes
// while another runs does its items on its own thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <thread>
#include <type_traits>
#include <vector>

#include "llmhost/plugin.h"

namespace llmhost {

// Cores this process may run on (its affinity mask), at least 1.
int32_t available_cores();

class ThreadPool {
 public:
  static constexpr int32_t kMaxThreads = 1024;
  static constexpr int64_t kSpinMicroseconds = 30;
  using Body = void (*)(void* context, int64_t item, int32_t thread);

  // `n_threads` includes the caller; 0 means available_cores(). Throws kInvalidArgument outside [0,
  // kMaxThreads].
  explicit ThreadPool(int32_t n_threads = 0);
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

  void work(int32_t thread);
  void run_items(int32_t thread);
  bool enter();
  void leave();
  uint32_t wait_for_call(uint32_t seen);
  void wait_for_workers();

  Api api_{};
  bool spins_ = true;
  std::vector<std::thread> workers_;

  // The call that runs: written by the caller while no worker is inside.
  Body body_ = nullptr;
  void* context_ = nullptr;
  int64_t n_items_ = 0;

  alignas(64) std::atomic<int64_t> next_{0};
  // Call number in the upper half, kOpen, and how many workers are inside.
  alignas(64) std::atomic<uint64_t> gate_{0};
  alignas(64) std::atomic<uint32_t> calls_{0};  // workers sleep on it
  std::atomic<uint32_t> sleepers_{0};
  alignas(64) std::atomic<uint32_t> caller_sleeps_{0};  // the caller sleeps on it
  std::atomic<bool> stop_{false};
  std::atomic<bool> busy_{false};
};

}  // namespace llmhost
