// What the pool's loading thread does: makes room, loads, unloads.
#include <algorithm>
#include <chrono>

#include "core/error.h"
#include "core/log.h"
#include "core/names.h"
#include "core/progress.h"
#include "serve/models/pool_core.h"
#include "serve/models/without_paths.h"

namespace llmhost::serve {

void PoolCore::run_loads() {
  Lock lock(mutex_);
  while (!is_stopped_) {
    if (unload_closing(lock)) continue;
    if (!queue_.empty())
      load_next(lock);
    else if (!estimates_.empty())
      run_estimate(lock);
    else
      changed_.wait(lock);
  }
}

void PoolCore::run_estimate(Lock& lock) {
  const Estimate estimate = std::move(estimates_.front());
  estimates_.pop_front();
  lock.unlock();
  OnDemandPool::Needs needs;
  std::exception_ptr error;
  try {
    const std::unique_ptr<PlannedModel> planned = loader_->plan(estimate.config, budget_);
    needs = {planned->bytes(), planned->adapter_bytes(), planned->memory()};
  } catch (const std::exception& thrown) {
    const auto* known = dynamic_cast<const Error*>(&thrown);
    error = pool_error(known != nullptr ? known->code() : ErrorCode::kInternal,
                       without_paths(thrown.what(), estimate.config.path, estimate.config.id));
  }
  estimate.planned(needs, error);
  lock.lock();
}

bool PoolCore::unload_closing(Lock& lock) {
  for (PoolEntry& entry : entries_.all()) {
    if (!entry.is_closing || !entry.can_go()) continue;
    unload_now(entry, lock);
    return true;
  }
  return false;
}

void PoolCore::unload_now(PoolEntry& entry, Lock& lock) {
  spdlog::info("pool: {} is unloaded", entry.config.id);
  RunningModel gone = std::exchange(entry.running, {});
  entry.state = std::find(queue_.begin(), queue_.end(), &entry) != queue_.end() ? ModelState::kQueued
                                                                                : ModelState::kKnown;
  entry.progress = 0;
  lock.unlock();
  gone = {};
  lock.lock();
  entry.bytes = 0;  // what it held is free only now
  entry.is_closing = false;
}

void PoolCore::load_next(Lock& lock) {
  PoolEntry& entry = *queue_.front();
  queue_.pop_front();
  if (entry.is_loaded()) {  // it was to go, and was asked for again before it could
    entry.is_closing = false;
  } else {
    entry.state = ModelState::kLoading;
    const PoolClock::time_point start = PoolClock::now();
    load_entry(entry, lock);
    const double seconds = std::chrono::duration<double>(PoolClock::now() - start).count();
    if (entry.is_loaded() && seconds > 0)
      load_rate_ = 0.5 * load_rate_ + 0.5 * static_cast<double>(entry.bytes) / seconds;
  }
  answer(entry, lock);
}

void PoolCore::load_entry(PoolEntry& entry, Lock& lock) {
  bool remember = true;
  try {
    const uint64_t pinned = pinned_bytes(entry);
    const uint64_t most = budget_ > pinned ? budget_ - pinned : 0;
    lock.unlock();
    std::unique_ptr<PlannedModel> planned = loader_->plan(entry.config, most);
    lock.lock();
    entry.planned_bytes = planned->bytes();
    if (planned->bytes() > most) throw_error(ErrorCode::kResourceExhausted, "{}", no_room(entry, true));
    remember = false;
    make_room(entry, lock);
    remember = true;
    entry.bytes = planned->bytes();
    lock.unlock();
    const auto progress = [&](double share) {
      const std::scoped_lock inner(mutex_);
      entry.progress = std::clamp(share, entry.progress, 1.0);
    };
    RunningModel running = planned->load(progress);
    lock.lock();
    entry.running = std::move(running);
    entry.state = ModelState::kLoaded;
    entry.is_awaited = false;
    entry.error.clear();
    entry.failure = nullptr;
    if (entry.last_used == 0) entry.last_used = ++last_use_;
    spdlog::info("pool: {} is loaded, {}", entry.config.id, format_bytes(entry.bytes));
  } catch (const std::exception& error) {
    if (!lock.owns_lock()) lock.lock();
    fail(entry, error, std::current_exception(), remember);
  }
}

void PoolCore::fail(PoolEntry& entry, const std::exception& error, const std::exception_ptr& thrown,
                    bool remember) {
  const auto* known = dynamic_cast<const Error*>(&error);
  entry.error = without_paths(error.what(), entry.config.path, entry.config.id);
  entry.failure = pool_error(
      known != nullptr ? known->code() : ErrorCode::kInternal,
      fmt::format("the model {} could not be loaded: {}", quote_name(entry.config.id), entry.error));
  entry.state = ModelState::kFailed;
  entry.is_closing = false;
  entry.failed_at = remember ? PoolClock::now() : PoolClock::time_point{};
  entry.bytes = 0;
  if (entry.config.preload && !preload_failure_) preload_failure_ = thrown;
  spdlog::warn("pool: {} could not be loaded: {}", entry.config.id, entry.error);
}

bool PoolCore::fits(const PoolEntry& wanted) const {
  uint64_t used = 0;
  int64_t n_loaded = 0;
  for (const PoolEntry& entry : entries_.all()) {
    used += entry.bytes;
    n_loaded += entry.bytes > 0 ? 1 : 0;
  }
  const bool is_free = used <= budget_ && wanted.planned_bytes <= budget_ - used;
  return is_free && (settings_.max_loaded == 0 || n_loaded < settings_.max_loaded);
}

uint64_t PoolCore::pinned_bytes(const PoolEntry& except) const {
  uint64_t sum = 0;
  for (const PoolEntry& entry : entries_.all())
    if (&entry != &except && entry.config.pinned) sum += entry.bytes;
  return sum;
}

// The least recently used model that may go: one that nobody holds, or one that is held and not yet told.
PoolEntry* PoolCore::choose(const PoolEntry& wanted, bool held) {
  PoolEntry* best = nullptr;
  for (PoolEntry& entry : entries_.all()) {
    if (&entry == &wanted || !entry.is_loaded() || entry.config.pinned) continue;
    if (held ? entry.holders == 0 || entry.is_closing : entry.holders > 0) continue;
    const bool is_better = best == nullptr || (entry.is_closing && !best->is_closing) ||
                           (entry.is_closing == best->is_closing && entry.last_used < best->last_used);
    if (is_better) best = &entry;
  }
  return best;
}

std::string PoolCore::no_room(const PoolEntry& entry, bool for_ever) const {
  uint64_t used = 0;
  for (const PoolEntry& other : entries_.all()) used += other.bytes;
  return fmt::format("it needs {}, the memory for models is {}, {} of it are {}",
                     format_bytes(entry.planned_bytes), format_bytes(budget_),
                     format_bytes(for_ever ? pinned_bytes(entry) : used),
                     for_ever ? "pinned models'" : "held by models in use");
}

void PoolCore::make_room(PoolEntry& entry, Lock& lock) {
  const PoolClock::time_point start = PoolClock::now();
  const PoolClock::time_point deadline = start + std::chrono::seconds(settings_.load_timeout_s);
  while (!fits(entry)) {
    if (PoolEntry* idle = choose(entry, false)) {
      unload_now(*idle, lock);
      continue;
    }
    const bool may_wait =
        std::any_of(entries_.all().begin(), entries_.all().end(),
                    [](const PoolEntry& other) { return other.is_loaded() && !other.config.pinned; });
    const PoolClock::time_point now = PoolClock::now();
    if (!may_wait || now >= deadline || is_stopped_)
      throw_error(ErrorCode::kResourceExhausted, "{}", no_room(entry, !may_wait));
    const bool is_patient = now < start + OnDemandPool::kPatience;
    if (!is_patient) {
      uint64_t closing = 0;
      for (const PoolEntry& other : entries_.all()) closing += other.is_closing ? other.bytes : 0;
      if (closing < entry.planned_bytes)
        if (PoolEntry* held = choose(entry, true)) held->is_closing = true;
    }
    changed_.wait_until(lock, is_patient ? std::min(start + OnDemandPool::kPatience, deadline)
                                         : std::min(now + OnDemandPool::kPatience, deadline));
  }
}

}  // namespace llmhost::serve
