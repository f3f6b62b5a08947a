#include "serve/models/pool_core.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "core/error.h"
#include "core/log.h"
#include "core/names.h"

namespace llmhost::serve {
namespace {

constexpr uint64_t kMostReserve = uint64_t{2} << 30;
constexpr double kFirstLoadRate = 200e6;  // bytes a second, before a load was measured
constexpr double kUnknownLoad_s = 5;
constexpr size_t kMostEstimates = 16;

uint64_t budget_of(const PoolSettings& settings, uint64_t free) {
  if (settings.memory > 0) return settings.memory;
  if (free == UINT64_MAX) return free;
  uint64_t reserve = settings.reserve > 0 ? settings.reserve : std::min(free / 10, kMostReserve);
  reserve += settings.server_caches;
  return free > reserve ? free - reserve : 0;
}

}  // namespace

PoolCore::PoolCore(const ServeConfig& config, std::unique_ptr<ModelLoader> loader)
    : settings_(config.pool),
      loader_(std::move(loader)),
      budget_(budget_of(config.pool, loader_->free_memory())),
      entries_(config),
      load_rate_(kFirstLoadRate) {
  for (PoolEntry& entry : entries_.all())
    if (entry.config.preload) enqueue(entry);
}

void PoolCore::start() {
  loading_ = std::thread([this] { run_loads(); });
  watching_ = std::thread([this] { watch_deadlines(); });
}

void PoolCore::stop() {
  std::vector<std::function<void()>> stops;
  {
    const std::scoped_lock lock(mutex_);
    is_stopped_ = true;
  }
  changed_.notify_all();
  deadlines_.notify_all();
  if (loading_.joinable()) loading_.join();
  if (watching_.joinable()) watching_.join();
  Lock lock(mutex_);
  const auto error = pool_error(ErrorCode::kUnavailable, "the server is shutting down");
  for (PoolEntry& entry : entries_.all()) {
    if (!entry.is_loaded()) entry.failure = error;
    answer(entry, lock);
    if (entry.is_loaded()) stops.push_back(entry.running.stop);
  }
  std::deque<Estimate> estimates = std::exchange(estimates_, {});
  lock.unlock();
  for (const Estimate& estimate : estimates) estimate.planned({}, error);
  for (const auto& stop_model : stops) stop_model();
  lock.lock();
  for (PoolEntry& entry : entries_.all()) {
    const RunningModel gone = std::exchange(entry.running, {});
    entry.state = ModelState::kKnown;
    lock.unlock();  // the last owner may be one who still holds a lease
    lock.lock();
  }
}

// A pointer that counts as a holder until it is gone. The model itself goes with its last owner.
std::shared_ptr<ServedModel> PoolCore::lease(PoolEntry& entry) {
  ++entry.holders;
  const auto give_back = [core = shared_from_this(), &entry,
                          owner = entry.running.model](ServedModel*) mutable {
    owner.reset();
    core->release(entry);
  };
  return {entry.running.model.get(), give_back};
}

void PoolCore::release(PoolEntry& entry) {
  {
    const std::scoped_lock lock(mutex_);
    if (--entry.holders > 0) return;
  }
  changed_.notify_all();
}

void PoolCore::enqueue(PoolEntry& entry) {
  if (entry.state == ModelState::kQueued || entry.state == ModelState::kLoading) return;
  if (std::find(queue_.begin(), queue_.end(), &entry) != queue_.end()) return;
  if (!entry.is_loaded()) entry.state = ModelState::kQueued;
  entry.progress = 0;
  queue_.push_back(&entry);
  changed_.notify_all();
}

uint64_t PoolCore::acquire(std::string_view name, Ready ready) {
  Lock lock(mutex_);
  const PoolEntries::Found found = entries_.find(name);
  PoolWaiter waiter{++last_ticket_, found.adapter, std::move(ready), {}};
  std::exception_ptr error;
  std::shared_ptr<ServedModel> model;
  if (is_stopped_) {
    error = pool_error(ErrorCode::kUnavailable, "the server is shutting down");
  } else if (found.entry == nullptr) {
    error =
        pool_error(ErrorCode::kNotFound,
                   fmt::format("there is no model {}; GET /v1/models lists what there is", quote_name(name)));
  } else {
    PoolEntry& entry = *found.entry;
    entry.last_used = ++last_use_;
    if (entry.is_loaded() && !entry.is_closing) {
      model = lease(entry);
    } else if (entry.state == ModelState::kFailed &&
               PoolClock::now() - entry.failed_at < OnDemandPool::kRetryAfter) {
      error = entry.failure;
    } else {
      const bool is_full = n_waiting() >= settings_.max_waiting;
      if (settings_.waits && is_full)
        error = pool_error(ErrorCode::kResourceExhausted,
                           fmt::format("{} requests wait for models already; try again later", n_waiting()));
      if (!error) enqueue(entry);
      if (!settings_.waits) error = not_ready(entry);
      if (!error) {
        waiter.deadline = PoolClock::now() + std::chrono::seconds(settings_.load_timeout_s);
        const uint64_t ticket = waiter.ticket;
        entry.waiters.push_back(std::move(waiter));
        deadlines_.notify_one();
        return ticket;
      }
    }
  }
  lock.unlock();
  waiter.ready(std::move(model), error ? std::string() : std::move(waiter.adapter), error);
  return waiter.ticket;
}

void PoolCore::forget(uint64_t ticket) {
  std::vector<PoolWaiter> forgotten;  // what they hold is let go without the lock
  const std::scoped_lock lock(mutex_);
  for (PoolEntry& entry : entries_.all()) {
    const auto found = std::find_if(entry.waiters.begin(), entry.waiters.end(),
                                    [&](const PoolWaiter& waiter) { return waiter.ticket == ticket; });
    if (found == entry.waiters.end()) continue;
    forgotten.push_back(std::move(*found));
    entry.waiters.erase(found);
  }
}

int64_t PoolCore::n_waiting() const {
  int64_t n = 0;
  for (const PoolEntry& entry : entries_.all()) n += static_cast<int64_t>(entry.waiters.size());
  return n;
}

double PoolCore::seconds_left(const PoolEntry& entry) const {
  const double whole =
      entry.planned_bytes > 0 ? static_cast<double>(entry.planned_bytes) / load_rate_ : kUnknownLoad_s;
  return whole * (1 - entry.progress);
}

std::exception_ptr PoolCore::not_ready(const PoolEntry& entry) const {
  double seconds = seconds_left(entry);
  for (const PoolEntry* before : queue_) {
    if (before == &entry) break;
    seconds += seconds_left(*before);
  }
  const auto retry = static_cast<int64_t>(std::clamp(std::ceil(seconds), 1.0, 3600.0));
  const std::string message =
      fmt::format("the model {} is {} ({:.0f} %); try again in {} s", quote_name(entry.config.id),
                  to_text(entry.state), entry.progress * 100, retry);
  return std::make_exception_ptr(ModelNotReady(message, entry.state, entry.progress, retry));
}

std::vector<ModelStatus> PoolCore::list() {
  const std::scoped_lock lock(mutex_);
  std::vector<ModelStatus> all;
  for (PoolEntry& entry : entries_.all()) {
    ModelStatus status;
    status.id = entry.config.id;
    status.state = entry.state;
    status.pinned = entry.config.pinned;
    status.progress = entry.is_loaded() ? 1 : entry.progress;
    status.error = entry.error;
    status.planned_bytes = std::max(entry.bytes, entry.planned_bytes);
    if (entry.is_loaded()) status.model = lease(entry);
    all.push_back(std::move(status));
  }
  return all;
}

uint64_t PoolCore::used() const {
  const std::scoped_lock lock(mutex_);
  uint64_t sum = 0;
  for (const PoolEntry& entry : entries_.all()) sum += entry.bytes;
  return sum;
}

bool PoolCore::is_ready() const {
  const std::scoped_lock lock(mutex_);
  return std::none_of(entries_.all().begin(), entries_.all().end(),
                      [](const PoolEntry& entry) { return entry.is_awaited; });
}

std::exception_ptr PoolCore::preload_failure() const {
  const std::scoped_lock lock(mutex_);
  return preload_failure_;
}

PoolEntry& PoolCore::require(std::string_view id) {
  const PoolEntries::Found found = entries_.find(id);
  if (found.entry == nullptr || !found.adapter.empty())
    throw_error(ErrorCode::kNotFound, "there is no model {}", quote_name(id));
  return *found.entry;
}

void PoolCore::load(std::string_view id) {
  const std::scoped_lock lock(mutex_);
  PoolEntry& entry = require(id);
  entry.last_used = ++last_use_;
  if (!entry.is_loaded()) entry.is_closing = false;
  if (!entry.is_loaded() || entry.is_closing) enqueue(entry);
}

std::shared_ptr<ServedModel> PoolCore::loaded(std::string_view id) {
  const std::scoped_lock lock(mutex_);
  PoolEntry& entry = require(id);
  return entry.is_loaded() ? lease(entry) : nullptr;
}

void PoolCore::estimate(std::string_view id, const OnDemandPool::Limits& limits, Planned planned) {
  {
    const std::scoped_lock lock(mutex_);
    if (is_stopped_) throw_error(ErrorCode::kUnavailable, "the server is shutting down");
    if (estimates_.size() >= kMostEstimates)
      throw_error(ErrorCode::kResourceExhausted, "{} estimates are waiting already; try again later",
                  estimates_.size());
    ModelConfig config = require(id).config;
    if (limits.context > 0) config.settings.set("engine.context", std::to_string(limits.context), "context");
    if (limits.sequences > 0)
      config.settings.set("engine.sequences", std::to_string(limits.sequences), "sequences");
    estimates_.push_back({std::move(config), std::move(planned)});
  }
  changed_.notify_all();
}

void PoolCore::unload(std::string_view id) {
  {
    const std::scoped_lock lock(mutex_);
    PoolEntry& entry = require(id);
    if (entry.config.pinned)
      throw_error(ErrorCode::kFailedPrecondition, "the model {} is pinned", quote_name(entry.config.id));
    entry.is_awaited = false;
    // Those who wait for it are served first; one that nobody waits for need not be loaded at all.
    if (entry.waiters.empty()) std::erase(queue_, &entry);
    if (entry.state == ModelState::kQueued && entry.waiters.empty()) entry.state = ModelState::kKnown;
    entry.is_closing =
        entry.is_loaded() || entry.state == ModelState::kQueued || entry.state == ModelState::kLoading;
  }
  changed_.notify_all();
}

// Tells those who wait for it what became of the load. One by one: until it is told, each may be forgotten.
void PoolCore::answer(PoolEntry& entry, Lock& lock) {
  while (!entry.waiters.empty()) {
    PoolWaiter waiter = std::move(entry.waiters.front());
    entry.waiters.erase(entry.waiters.begin());
    const bool is_loaded = entry.is_loaded();
    call(waiter, is_loaded ? lease(entry) : nullptr, is_loaded ? nullptr : entry.failure, lock);
  }
}

void PoolCore::call(PoolWaiter& waiter, std::shared_ptr<ServedModel> model, const std::exception_ptr& error,
                    Lock& lock) {
  lock.unlock();
  try {
    waiter.ready(std::move(model), error ? std::string() : waiter.adapter, error);
  } catch (const std::exception& thrown) {
    spdlog::error("pool: a waiting request threw: {}", thrown.what());
  }
  waiter.ready = nullptr;
  lock.lock();
}

// One that has waited too long; else `next` is when there may be one.
std::optional<PoolWaiter> PoolCore::take_expired(PoolClock::time_point& next) {
  const PoolClock::time_point now = PoolClock::now();
  next = now + std::chrono::hours(1);
  for (PoolEntry& entry : entries_.all()) {
    for (PoolWaiter& waiter : entry.waiters) {
      next = std::min(next, waiter.deadline);
      if (waiter.deadline > now) continue;
      std::optional<PoolWaiter> expired = std::move(waiter);
      entry.waiters.erase(entry.waiters.begin() + (&waiter - entry.waiters.data()));
      return expired;
    }
  }
  return std::nullopt;
}

void PoolCore::watch_deadlines() {
  const auto error =
      pool_error(ErrorCode::kDeadlineExceeded,
                 fmt::format("the model was not loaded within {} s", settings_.load_timeout_s));
  Lock lock(mutex_);
  while (!is_stopped_) {
    PoolClock::time_point next;
    if (std::optional<PoolWaiter> expired = take_expired(next))
      call(*expired, nullptr, error, lock);
    else
      deadlines_.wait_until(lock, next);
  }
}

}  // namespace llmhost::serve
