#include "serve/models/on_demand_pool.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include "core/error.h"
#include "core/log.h"
#include "core/names.h"
#include "core/progress.h"
#include "serve/models/pool_entries.h"

namespace llmhost::serve {
namespace {

constexpr uint64_t kMostReserve = uint64_t{2} << 30;
constexpr double kFirstLoadRate = 200e6;  // bytes a second, before a load was measured
constexpr double kUnknownLoad_s = 5;

uint64_t budget_of(const PoolSettings& settings, uint64_t free) {
  if (settings.memory > 0) return settings.memory;
  if (free == UINT64_MAX) return free;
  const uint64_t reserve = settings.reserve > 0 ? settings.reserve : std::min(free / 10, kMostReserve);
  return free > reserve ? free - reserve : 0;
}

std::exception_ptr make_error(ErrorCode code, const std::string& message) {
  return std::make_exception_ptr(Error(code, message));
}

bool is_path_character(char c) {
  return std::isspace(static_cast<unsigned char>(c)) == 0 &&
         std::string_view("'\",;()[]").find(c) == std::string_view::npos;
}

}  // namespace

std::string without_paths(std::string message, const std::filesystem::path& path, std::string_view id) {
  for (const std::string& known :
       {path.string(), std::filesystem::absolute(path).lexically_normal().string()})
    for (size_t at = 0; !known.empty() && (at = message.find(known, at)) != std::string::npos;
         at += id.size())
      message.replace(at, known.size(), id);
  for (size_t at = 0; (at = message.find('/', at)) != std::string::npos;) {
    const bool begins = at == 0 || !is_path_character(message[at - 1]);
    size_t end = at;
    while (end < message.size() && is_path_character(message[end])) ++end;
    const size_t last = message.rfind('/', end - 1);
    if (begins && last > at) message.erase(at, last + 1 - at), end = at;
    at = std::max(end, at + 1);
  }
  return message;
}

// All state, under one lock; the loading thread and the one that watches deadlines.
class OnDemandPool::Core : public std::enable_shared_from_this<Core> {
 public:
  Core(const ServeConfig& config, std::unique_ptr<ModelLoader> loader)
      : settings_(config.pool),
        loader_(std::move(loader)),
        budget_(budget_of(config.pool, loader_->free_memory())),
        entries_(config) {
    for (PoolEntry& entry : entries_.all())
      if (entry.config.preload) enqueue(entry);
  }

  void start() {
    loading_ = std::thread([this] { run_loads(); });
    watching_ = std::thread([this] { watch_deadlines(); });
  }

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

 private:
  using Lock = std::unique_lock<std::mutex>;

  std::shared_ptr<ServedModel> lease(PoolEntry& entry);
  void release(PoolEntry& entry);
  void enqueue(PoolEntry& entry);
  std::exception_ptr not_ready(const PoolEntry& entry) const;
  double seconds_left(const PoolEntry& entry) const;
  PoolEntry& require(std::string_view id);
  int64_t n_waiting() const;

  void run_loads();
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
  std::condition_variable called_;     // a waiter was called
  PoolEntries entries_;
  std::deque<PoolEntry*> queue_;  // to be loaded
  uint64_t last_ticket_ = 0;
  uint64_t last_use_ = 0;
  double load_rate_ = kFirstLoadRate;
  bool is_stopped_ = false;
  std::exception_ptr preload_failure_;
  std::vector<std::pair<uint64_t, std::thread::id>> calling_;  // tickets whose callbacks run
  std::thread loading_;
  std::thread watching_;
};

void OnDemandPool::Core::stop() {
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
  const auto error = make_error(ErrorCode::kUnavailable, "the server is shutting down");
  for (PoolEntry& entry : entries_.all()) {
    if (!entry.is_loaded()) entry.failure = error;
    answer(entry, lock);
    if (entry.is_loaded()) stops.push_back(entry.running.stop);
  }
  lock.unlock();
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
std::shared_ptr<ServedModel> OnDemandPool::Core::lease(PoolEntry& entry) {
  ++entry.holders;
  const auto give_back = [core = shared_from_this(), &entry,
                          owner = entry.running.model](ServedModel*) mutable {
    owner.reset();
    core->release(entry);
  };
  return {entry.running.model.get(), give_back};
}

void OnDemandPool::Core::release(PoolEntry& entry) {
  {
    const std::scoped_lock lock(mutex_);
    if (--entry.holders > 0) return;
  }
  changed_.notify_all();
}

void OnDemandPool::Core::enqueue(PoolEntry& entry) {
  if (entry.state == ModelState::kQueued || entry.state == ModelState::kLoading) return;
  if (std::find(queue_.begin(), queue_.end(), &entry) != queue_.end()) return;
  if (!entry.is_loaded()) entry.state = ModelState::kQueued;
  entry.progress = 0;
  queue_.push_back(&entry);
  changed_.notify_all();
}

uint64_t OnDemandPool::Core::acquire(std::string_view name, Ready ready) {
  Lock lock(mutex_);
  const PoolEntries::Found found = entries_.find(name);
  PoolWaiter waiter{++last_ticket_, found.adapter, std::move(ready), {}};
  std::exception_ptr error;
  std::shared_ptr<ServedModel> model;
  if (is_stopped_) {
    error = make_error(ErrorCode::kUnavailable, "the server is shutting down");
  } else if (found.entry == nullptr) {
    error =
        make_error(ErrorCode::kNotFound,
                   fmt::format("there is no model {}; GET /v1/models lists what there is", quote_name(name)));
  } else {
    PoolEntry& entry = *found.entry;
    entry.last_used = ++last_use_;
    if (entry.is_loaded() && !entry.is_closing) {
      model = lease(entry);
    } else if (entry.state == ModelState::kFailed && PoolClock::now() - entry.failed_at < kRetryAfter) {
      error = entry.failure;
    } else {
      const bool is_full = n_waiting() >= settings_.max_waiting;
      if (settings_.waits && is_full)
        error = make_error(ErrorCode::kResourceExhausted,
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

void OnDemandPool::Core::forget(uint64_t ticket) {
  Lock lock(mutex_);
  for (PoolEntry& entry : entries_.all())
    std::erase_if(entry.waiters, [&](const PoolWaiter& waiter) { return waiter.ticket == ticket; });
  called_.wait(lock, [&] {
    return std::none_of(calling_.begin(), calling_.end(), [&](const auto& running) {
      return running.first == ticket && running.second != std::this_thread::get_id();
    });
  });
}

int64_t OnDemandPool::Core::n_waiting() const {
  int64_t n = 0;
  for (const PoolEntry& entry : entries_.all()) n += static_cast<int64_t>(entry.waiters.size());
  return n;
}

double OnDemandPool::Core::seconds_left(const PoolEntry& entry) const {
  const double whole =
      entry.planned_bytes > 0 ? static_cast<double>(entry.planned_bytes) / load_rate_ : kUnknownLoad_s;
  return whole * (1 - entry.progress);
}

std::exception_ptr OnDemandPool::Core::not_ready(const PoolEntry& entry) const {
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

std::vector<ModelStatus> OnDemandPool::Core::list() {
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

uint64_t OnDemandPool::Core::used() const {
  const std::scoped_lock lock(mutex_);
  uint64_t sum = 0;
  for (const PoolEntry& entry : entries_.all()) sum += entry.bytes;
  return sum;
}

bool OnDemandPool::Core::is_ready() const {
  const std::scoped_lock lock(mutex_);
  return std::all_of(entries_.all().begin(), entries_.all().end(), [](const PoolEntry& entry) {
    return !entry.config.preload || entry.is_loaded() || (!entry.config.pinned && entry.planned_bytes > 0);
  });
}

std::exception_ptr OnDemandPool::Core::preload_failure() const {
  const std::scoped_lock lock(mutex_);
  return preload_failure_;
}

PoolEntry& OnDemandPool::Core::require(std::string_view id) {
  const PoolEntries::Found found = entries_.find(id);
  if (found.entry == nullptr || !found.adapter.empty())
    throw_error(ErrorCode::kNotFound, "there is no model {}", quote_name(id));
  return *found.entry;
}

void OnDemandPool::Core::load(std::string_view id) {
  const std::scoped_lock lock(mutex_);
  PoolEntry& entry = require(id);
  entry.last_used = ++last_use_;
  if (!entry.is_loaded() || entry.is_closing) enqueue(entry);
}

void OnDemandPool::Core::unload(std::string_view id) {
  {
    const std::scoped_lock lock(mutex_);
    PoolEntry& entry = require(id);
    if (entry.config.pinned)
      throw_error(ErrorCode::kFailedPrecondition, "the model {} is pinned", quote_name(entry.config.id));
    if (entry.is_loaded()) entry.is_closing = true;
  }
  changed_.notify_all();
}

void OnDemandPool::Core::run_loads() {
  Lock lock(mutex_);
  while (!is_stopped_) {
    if (unload_closing(lock)) continue;
    if (!queue_.empty())
      load_next(lock);
    else
      changed_.wait(lock);
  }
}

bool OnDemandPool::Core::unload_closing(Lock& lock) {
  for (PoolEntry& entry : entries_.all()) {
    if (!entry.is_closing || !entry.can_go()) continue;
    unload_now(entry, lock);
    return true;
  }
  return false;
}

void OnDemandPool::Core::unload_now(PoolEntry& entry, Lock& lock) {
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

void OnDemandPool::Core::load_next(Lock& lock) {
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

void OnDemandPool::Core::load_entry(PoolEntry& entry, Lock& lock) {
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
    entry.error.clear();
    entry.failure = nullptr;
    if (entry.last_used == 0) entry.last_used = ++last_use_;
    spdlog::info("pool: {} is loaded, {}", entry.config.id, format_bytes(entry.bytes));
  } catch (const std::exception& error) {
    if (!lock.owns_lock()) lock.lock();
    fail(entry, error, std::current_exception(), remember);
  }
}

void OnDemandPool::Core::fail(PoolEntry& entry, const std::exception& error, const std::exception_ptr& thrown,
                              bool remember) {
  const auto* known = dynamic_cast<const Error*>(&error);
  entry.error = without_paths(error.what(), entry.config.path, entry.config.id);
  entry.failure = make_error(
      known != nullptr ? known->code() : ErrorCode::kInternal,
      fmt::format("the model {} could not be loaded: {}", quote_name(entry.config.id), entry.error));
  entry.state = ModelState::kFailed;
  entry.failed_at = remember ? PoolClock::now() : PoolClock::time_point{};
  entry.bytes = 0;
  if (entry.config.preload && !preload_failure_) preload_failure_ = thrown;
  spdlog::warn("pool: {} could not be loaded: {}", entry.config.id, entry.error);
}

bool OnDemandPool::Core::fits(const PoolEntry& wanted) const {
  uint64_t used = 0;
  int64_t n_loaded = 0;
  for (const PoolEntry& entry : entries_.all()) {
    used += entry.bytes;
    n_loaded += entry.bytes > 0 ? 1 : 0;
  }
  const bool is_free = used <= budget_ && wanted.planned_bytes <= budget_ - used;
  return is_free && (settings_.max_loaded == 0 || n_loaded < settings_.max_loaded);
}

uint64_t OnDemandPool::Core::pinned_bytes(const PoolEntry& except) const {
  uint64_t sum = 0;
  for (const PoolEntry& entry : entries_.all())
    if (&entry != &except && entry.config.pinned) sum += entry.bytes;
  return sum;
}

// The least recently used model that may go: one that nobody holds, or one that is held and not yet told.
PoolEntry* OnDemandPool::Core::choose(const PoolEntry& wanted, bool held) {
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

std::string OnDemandPool::Core::no_room(const PoolEntry& entry, bool for_ever) const {
  uint64_t used = 0;
  for (const PoolEntry& other : entries_.all()) used += other.bytes;
  return fmt::format("it needs {}, the memory for models is {}, {} of it are {}",
                     format_bytes(entry.planned_bytes), format_bytes(budget_),
                     format_bytes(for_ever ? pinned_bytes(entry) : used),
                     for_ever ? "pinned models'" : "held by models in use");
}

void OnDemandPool::Core::make_room(PoolEntry& entry, Lock& lock) {
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
    const bool is_patient = now < start + kPatience;
    if (!is_patient) {
      uint64_t closing = 0;
      for (const PoolEntry& other : entries_.all()) closing += other.is_closing ? other.bytes : 0;
      if (closing < entry.planned_bytes)
        if (PoolEntry* held = choose(entry, true)) held->is_closing = true;
    }
    changed_.wait_until(
        lock, is_patient ? std::min(start + kPatience, deadline) : std::min(now + kPatience, deadline));
  }
}

// Tells those who wait for it what became of the load. One by one: until it is told, each may be forgotten.
void OnDemandPool::Core::answer(PoolEntry& entry, Lock& lock) {
  while (!entry.waiters.empty()) {
    PoolWaiter waiter = std::move(entry.waiters.front());
    entry.waiters.erase(entry.waiters.begin());
    const bool is_loaded = entry.is_loaded();
    call(waiter, is_loaded ? lease(entry) : nullptr, is_loaded ? nullptr : entry.failure, lock);
  }
}

void OnDemandPool::Core::call(PoolWaiter& waiter, std::shared_ptr<ServedModel> model,
                              const std::exception_ptr& error, Lock& lock) {
  calling_.emplace_back(waiter.ticket, std::this_thread::get_id());
  lock.unlock();
  try {
    waiter.ready(std::move(model), error ? std::string() : waiter.adapter, error);
  } catch (const std::exception& thrown) {
    spdlog::error("pool: a waiting request threw: {}", thrown.what());
  }
  waiter.ready = nullptr;
  lock.lock();
  std::erase_if(calling_, [&](const auto& running) { return running.first == waiter.ticket; });
  called_.notify_all();
}

// One that has waited too long; else `next` is when there may be one.
std::optional<PoolWaiter> OnDemandPool::Core::take_expired(PoolClock::time_point& next) {
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

void OnDemandPool::Core::watch_deadlines() {
  const auto error =
      make_error(ErrorCode::kDeadlineExceeded,
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

OnDemandPool::OnDemandPool(const ServeConfig& config, std::unique_ptr<ModelLoader> loader)
    : core_(std::make_shared<Core>(config, std::move(loader))) {}

OnDemandPool::~OnDemandPool() {
  core_->stop();
}

void OnDemandPool::start() {
  core_->start();
}
uint64_t OnDemandPool::acquire(std::string_view name, Ready ready) {
  return core_->acquire(name, std::move(ready));
}
void OnDemandPool::forget(uint64_t ticket) {
  core_->forget(ticket);
}
std::vector<ModelStatus> OnDemandPool::list() const {
  return core_->list();
}
uint64_t OnDemandPool::memory_budget() const {
  return core_->budget();
}
uint64_t OnDemandPool::memory_used() const {
  return core_->used();
}
bool OnDemandPool::is_ready() const {
  return core_->is_ready();
}
std::exception_ptr OnDemandPool::preload_failure() const {
  return core_->preload_failure();
}
void OnDemandPool::load(std::string_view id) {
  core_->load(id);
}
void OnDemandPool::unload(std::string_view id) {
  core_->unload(id);
}

}  // namespace llmhost::serve
