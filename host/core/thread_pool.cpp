#include "core/thread_pool.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <system_error>

#include "core/error.h"

namespace llmhost {
namespace {

constexpr uint64_t kOneFromEnd = uint64_t{1} << 32;
constexpr int64_t kMoveEveryNs = 2'000'000;  // of a worker to another core
constexpr int64_t kLongWaitNs = 1'000'000;   // of the caller for a worker
constexpr int64_t kMostItems = INT32_MAX;    // of one deal

void futex_wait(std::atomic<uint32_t>& word, uint32_t expected) {
  syscall(SYS_futex, reinterpret_cast<uint32_t*>(&word), FUTEX_WAIT_PRIVATE, expected, nullptr, nullptr, 0);
}

void futex_wake(std::atomic<uint32_t>& word, int count) {
  syscall(SYS_futex, reinterpret_cast<uint32_t*>(&word), FUTEX_WAKE_PRIVATE, count, nullptr, nullptr, 0);
}

uint32_t first_of(uint64_t items) {
  return static_cast<uint32_t>(items);
}

uint32_t end_of(uint64_t items) {
  return static_cast<uint32_t>(items >> 32);
}

// Both true when an item was there and is now the caller's alone.
bool take_first(std::atomic<uint64_t>& share, uint32_t& item) {
  uint64_t items = share.load(std::memory_order_acquire);
  while (first_of(items) < end_of(items)) {
    item = first_of(items);
    if (share.compare_exchange_weak(items, items + 1, std::memory_order_acq_rel, std::memory_order_acquire))
      return true;
  }
  return false;
}

bool take_last(std::atomic<uint64_t>& share, uint32_t& item) {
  uint64_t items = share.load(std::memory_order_acquire);
  while (first_of(items) < end_of(items)) {
    item = end_of(items) - 1;
    if (share.compare_exchange_weak(items, items - kOneFromEnd, std::memory_order_acq_rel,
                                    std::memory_order_acquire))
      return true;
  }
  return false;
}

int32_t checked_threads(int32_t n_threads) {
  if (n_threads < 0 || n_threads > ThreadPool::kMaxThreads)
    throw_invalid("threads: got {}, expected 0 (all cores) to {}", n_threads, ThreadPool::kMaxThreads);
  return n_threads == 0 ? std::min(available_cores(), ThreadPool::kMaxThreads) : n_threads;
}

int64_t spin_budget(const ThreadPoolOptions& options, int32_t n_threads) {
  return n_threads <= available_cores() ? std::max<int64_t>(0, options.spin_us) * 1000 : 0;
}

}  // namespace

ThreadPool::ThreadPool(const ThreadPoolOptions& options)
    : caller_spin_(spin_budget(options, checked_threads(options.n_threads)), busy_machine_) {
  const int32_t count = checked_threads(options.n_threads);
  api_.struct_size = sizeof(llmh_thread_pool);
  api_.n_threads = count;
  api_.pool = this;
  api_.parallel_for = [](const llmh_thread_pool* pool, int64_t n_items, Body body, void* context) {
    static_cast<const Api*>(pool)->pool->parallel_for(n_items, body, context);
  };
  spin_ns_ = spin_budget(options, count);
  if (options.pin) cpus_ = available_cpus();
  shares_ = std::make_unique<Share[]>(static_cast<size_t>(count));
  choose_victims(nodes_of(cpus_));
  workers_.reserve(static_cast<size_t>(count - 1));
  try {
    for (int32_t i = 1; i < count; ++i) workers_.emplace_back([this, i] { work(i); });
  } catch (const std::system_error& error) {
    const size_t started = workers_.size();
    stop_workers();
    throw_error(ErrorCode::kResourceExhausted, "threads: the system gave {} of {} ({}); lower engine.threads",
                started + 1, count, error.what());
  }
}

ThreadPool::~ThreadPool() {
  stop_workers();
  if (pinned_caller_ == std::this_thread::get_id()) sched_setaffinity(0, sizeof(caller_cpus_), &caller_cpus_);
}

void ThreadPool::stop_workers() {
  stop_.store(true);
  calls_.fetch_add(1);
  futex_wake(calls_, INT_MAX);
  for (std::thread& worker : workers_) worker.join();
}

// `nodes` of the processors that threads are pinned to; empty when they are not. Starting behind itself, so
// that thieves do not all go for the same share.
void ThreadPool::choose_victims(const std::vector<int32_t>& nodes) {
  const int32_t count = n_threads();
  const auto node_of = [&](int32_t thread) {
    return nodes.empty() ? 0 : nodes[static_cast<size_t>(thread) % nodes.size()];
  };
  for (int32_t thread = 0; thread < count; ++thread) {
    std::vector<int32_t> far;
    std::vector<int32_t>& victims = shares_[static_cast<size_t>(thread)].victims;
    for (int32_t i = 1; i < count; ++i) {
      const int32_t other = (thread + i) % count;
      (node_of(other) == node_of(thread) ? victims : far).push_back(other);
    }
    // The caller must be able to finish a call whose workers never begin.
    if (thread == 0) victims.insert(victims.end(), far.begin(), far.end());
  }
}

void ThreadPool::parallel_for(int64_t n_items, Body body, void* context) {
  if (n_items <= 0) return;
  const bool alone = n_items == 1 || workers_.empty() || busy_.exchange(true, std::memory_order_acquire);
  if (alone) {
    for (int64_t i = 0; i < n_items; ++i) body(context, i, 0);
    return;
  }
  if (!cpus_.empty()) pin_caller();
  body_ = body;
  context_ = context;
  for (first_item_ = 0; first_item_ < n_items; first_item_ += kMostItems)
    run_call(std::min(n_items - first_item_, kMostItems));
  busy_.store(false, std::memory_order_release);
}

void ThreadPool::run_call(int64_t n_items) {
  done_.store(0, std::memory_order_relaxed);
  crowded_.store(false, std::memory_order_relaxed);
  caller_cpu_.store(sched_getcpu(), std::memory_order_relaxed);
  deal(static_cast<uint32_t>(n_items));
  // Sequentially consistent with `sleepers_`: either we see the sleeper or its futex_wait sees the new
  // number.
  calls_.store(calls_.load(std::memory_order_relaxed) + 1);
  if (sleepers_.load() > 0) futex_wake(calls_, static_cast<int>(n_items - 1));
  const int64_t mine = run_items(0);
  busy_machine_.look(steady_ns());
  wait_for_workers(n_items - mine);
}

// The caller begins at once, so it gets what does not divide.
void ThreadPool::deal(uint32_t n_items) {
  const auto count = static_cast<uint64_t>(n_threads());
  const auto begin_of = [&](uint64_t thread) { return (uint64_t{n_items} * thread + count - 1) / count; };
  for (uint64_t thread = 0; thread < count; ++thread)
    shares_[thread].items.store((begin_of(thread + 1) << 32) | begin_of(thread), std::memory_order_release);
}

// Its own share from the front, then the others' from the back, until there is nothing left to take. Returns
// how many were done.
int64_t ThreadPool::run_items(int32_t thread) {
  int64_t n_done = 0;
  uint32_t item = 0;
  Share& own = shares_[static_cast<size_t>(thread)];
  for (; take_first(own.items, item); ++n_done) body_(context_, first_item_ + item, thread);
  for (const int32_t victim : own.victims) {
    Share& other = shares_[static_cast<size_t>(victim)];
    for (; take_last(other.items, item); ++n_done) body_(context_, first_item_ + item, thread);
  }
  return n_done;
}

// `put_off`: how often the thread had been put off its core when the call began.
void ThreadPool::report(int64_t n_done, long put_off) {
  if (n_done == 0) return;
  done_.fetch_add(n_done);
  if (caller_sleeps_.load() == 0) return;
  if (times_put_off() != put_off) was_put_off_.store(true, std::memory_order_relaxed);
  if (caller_sleeps_.exchange(0) != 0) futex_wake(caller_sleeps_, 1);
}

void ThreadPool::wait_for_workers(int64_t n_items) {
  const auto done = [this, n_items] { return done_.load(std::memory_order_acquire) == n_items; };
  const auto crowded = [this] { return crowded_.load(std::memory_order_relaxed); };
  if (caller_spin_.until(done, crowded)) return;
  was_put_off_.store(false, std::memory_order_relaxed);
  const int64_t began = steady_ns();
  for (;;) {
    caller_sleeps_.store(1);
    // A worker reports before it looks at caller_sleeps_, so one of the two sees the other.
    if (done_.load() == n_items) break;
    futex_wait(caller_sleeps_, 1);
  }
  caller_sleeps_.store(0);
  const int64_t now = steady_ns();
  // While gathered the two take turns on one core: that a worker was put off then says nothing of the others.
  const bool was_gathered = gathering_.is_on(began);
  if (now - began > kLongWaitNs && !was_gathered && was_put_off_.load(std::memory_order_relaxed))
    gathering_.begin(now);
}

uint32_t ThreadPool::wait_for_call(uint32_t seen, SpinWait& spin) {
  const auto called = [this, seen] { return calls_.load(std::memory_order_acquire) != seen; };
  if (!spin.until(called, [this] { return shares_core_with_caller() || gathering_.is_on(steady_ns()); })) {
    sleepers_.fetch_add(1);
    while (calls_.load() == seen) futex_wait(calls_, seen);
    sleepers_.fetch_sub(1);
    spin.slept();
  }
  return calls_.load(std::memory_order_acquire);
}

void ThreadPool::work(int32_t thread) {
  if (!cpus_.empty()) pin_thread(cpus_[static_cast<size_t>(thread) % cpus_.size()]);
  SpinWait spin(spin_ns_, busy_machine_);
  int64_t moved_ns = 0;
  uint32_t gathered = 0;
  long put_off = 0;
  int64_t looked_ns = 0;
  for (uint32_t seen = 0;;) {
    seen = wait_for_call(seen, spin);
    if (stop_.load()) return;
    if (spin_ns_ > 0) choose_core(moved_ns, gathered);
    if (const int64_t now = steady_ns(); now - looked_ns > BusyMachine::kLookEveryNs) {
      put_off = times_put_off();
      looked_ns = now;
    }
    report(run_items(thread), put_off);
  }
}

// The system likes to wake a worker on the caller's core, and leaves it there as long as it sleeps again
// soon. With other processes on the other cores it is well placed: there it would be put off while it holds
// an item.
void ThreadPool::choose_core(int64_t& moved_ns, uint32_t& gathered) {
  if (gathered != gathering_.count() && cpus_.empty()) {
    gathered = gathering_.count();
    join_cpu(caller_cpu_.load(std::memory_order_relaxed));
  }
  if (!shares_core_with_caller()) return;
  const int64_t now = steady_ns();
  const bool stays = gathering_.is_on(now) || busy_machine_.is_busy(now);
  if (cpus_.empty() && now - moved_ns > kMoveEveryNs && !stays) {
    leave_cpu(caller_cpu_.load(std::memory_order_relaxed));
    moved_ns = now;
  } else {
    crowded_.store(true, std::memory_order_relaxed);
  }
}

// Who spins then keeps the other from the very core that both wait for.
bool ThreadPool::shares_core_with_caller() const {
  return sched_getcpu() == caller_cpu_.load(std::memory_order_relaxed);
}

void ThreadPool::pin_caller() {
  if (pinned_caller_ == std::this_thread::get_id()) return;
  sched_getaffinity(0, sizeof(caller_cpus_), &caller_cpus_);
  pin_thread(cpus_.front());
  pinned_caller_ = std::this_thread::get_id();
}

}  // namespace llmhost
