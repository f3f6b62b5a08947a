// The pool's state and its two threads: one loads, one watches deadlines. Internal to OnDemandPool; see there
// for the rules. Leases of models keep it alive.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "serve/models/on_demand_pool.h"
#include "serve/models/pool_entries.h"

namespace llmhost::serve {

class PoolCore : public std::enable_shared_from_this<PoolCore> {
 public:
  using Ready = ModelPool::Ready;
  using Planned = OnDemandPool::Planned;

  PoolCore(const ServeConfig& config, std::unique_ptr<ModelLoader> loader);

  void start();
  void stop();
  uint64_t acquire(std::string_view name, Ready ready);
  void forget(uint64_t ticket);
  std::vector<ModelStatus> list();
  uint64_t budget() const { return budget_; }
  uint64_t used() const;
  bool is_ready() const;
  std::exception_ptr preload_failure() const;
  void load(std::string_view id);
  void unload(std::string_view id);
  std::shared_ptr<ServedModel> loaded(std::string_view id);
  void estimate(std::string_view id, const OnDemandPool::Limits& limits, Planned planned);

 private:
  using Lock = std::unique_lock<std::mutex>;

  // To be planned, and who wants to know.
  struct Estimate {
    ModelConfig config;
    Planned planned;
  };

  std::shared_ptr<ServedModel> lease(PoolEntry& entry);
  void release(PoolEntry& entry);
  void enqueue(PoolEntry& entry);
  std::exception_ptr not_ready(const PoolEntry& entry) const;
  double seconds_left(const PoolEntry& entry) const;
  PoolEntry& require(std::string_view id);
  int64_t n_waiting() const;

  void run_loads();
  void run_estimate(Lock& lock);
  bool unload_closing(Lock& lock);
  void unload_now(PoolEntry& entry, Lock& lock);
  void load_next(Lock& lock);
  void load_entry(PoolEntry& entry, Lock& lock);
  void fail(PoolEntry& entry, const std::exception& error, const std::exception_ptr& thrown, bool remember);
  void make_room(PoolEntry& entry, Lock& lock);
  bool fits(const PoolEntry& entry) const;
  PoolEntry* choose(const PoolEntry& wanted, bool held);
  std::string no_room(const PoolEntry& entry, bool for_ever) const;
  uint64_t pinned_bytes(const PoolEntry& except) const;
  void answer(PoolEntry& entry, Lock& lock);
  void call(PoolWaiter& waiter, std::shared_ptr<ServedModel> model, const std::exception_ptr& error,
            Lock& lock);
  void watch_deadlines();
  std::optional<PoolWaiter> take_expired(PoolClock::time_point& next);

  const PoolSettings settings_;
  const std::unique_ptr<ModelLoader> loader_;
  const uint64_t budget_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;    // for the loading thread
  std::condition_variable deadlines_;  // for the watching thread
  PoolEntries entries_;
  std::deque<PoolEntry*> queue_;  // to be loaded
  std::deque<Estimate> estimates_;
  uint64_t last_ticket_ = 0;
  uint64_t last_use_ = 0;
  double load_rate_;  // bytes a second
  bool is_stopped_ = false;
  std::exception_ptr preload_failure_;
  std::thread loading_;
  std::thread watching_;
};

}  // namespace llmhost::serve
