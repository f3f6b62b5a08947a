#include "engine/adapter_store.h"

#include <algorithm>
#include <future>
#include <iterator>

#include "core/error.h"
#include "core/log.h"

namespace llmhost::engine {
namespace {

constexpr size_t kMaxListed = 10'000;
constexpr auto kLookForRoom = std::chrono::milliseconds(10);
constexpr size_t kMaxMerges = 256;
constexpr int kReadAttempts = 3;  // while the files change

// Callbacks are foreign code.
void answer(const AdapterStore::Callback& callback, std::shared_ptr<const Adapter> adapter,
            std::exception_ptr error) {
  try {
    callback(std::move(adapter), std::move(error));
  } catch (const std::exception& thrown) {
    spdlog::error("adapters: a callback threw: {}", thrown.what());
  }
}

template <typename Fn>
std::exception_ptr error_of(const std::string& name, Fn&& fn) {
  try {
    fn();
  } catch (const Error& error) {
    const std::string what = error.what();
    const std::string prefix = fmt::format("adapter '{}': ", name);
    return std::make_exception_ptr(Error(error.code(), what.starts_with(prefix) ? what : prefix + what));
  } catch (const std::exception& error) {
    return std::make_exception_ptr(
        Error(ErrorCode::kInternal, fmt::format("adapter '{}': {}", name, error.what())));
  }
  return nullptr;
}

std::exception_ptr stopped_error() {
  return std::make_exception_ptr(Error(ErrorCode::kCancelled, "adapters: the model is being unloaded"));
}

// A path is told by its last part alone.
std::string shown_name(const std::string& name) {
  const std::string last = std::filesystem::path(name).filename().string();
  std::string shown = name.starts_with('/') ? last : name;
  std::replace_if(
      shown.begin(), shown.end(), [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7F; },
      '?');
  return shown.substr(0, 80);
}

}  // namespace

std::string_view to_text(AdapterState state) {
  switch (state) {
    case AdapterState::kKnown:
      return "known";
    case AdapterState::kLoading:
      return "loading";
    case AdapterState::kLoaded:
      return "loaded";
    case AdapterState::kFailed:
      return "failed";
    case AdapterState::kEvicted:
      return "evicted";
  }
  return "unknown";
}

AdapterStore::AdapterStore(const AdapterHost& host, AdapterStoreOptions options)
    : host_(host), options_(std::move(options)), thread_([this] { run(); }) {}

AdapterStore::~AdapterStore() {
  stop();
}

void AdapterStore::stop() {
  {
    const std::scoped_lock lock(mutex_);
    is_stopping_ = true;
  }
  wakes_.notify_all();
  if (thread_.joinable()) thread_.join();
  std::vector<Callback> waiters;
  {
    const std::scoped_lock lock(mutex_);
    queue_.clear();
    for (auto& [name, entry] : entries_) {
      std::move(entry.waiters.begin(), entry.waiters.end(), std::back_inserter(waiters));
      entry.waiters.clear();
      if (entry.info.state == AdapterState::kLoading) entry.info.state = AdapterState::kKnown;
    }
  }
  for (const Callback& waiter : waiters) answer(waiter, nullptr, stopped_error());
}

void AdapterStore::get(const std::string& name, Callback callback) {
  const std::string key = adapter_key(options_.roots, name);
  get_entry(key, {key}, nullptr, std::move(callback));
}

void AdapterStore::get_merged(const AdapterMerge& merge, Callback callback) {
  const std::exception_ptr error = error_of("merged", [&] { merge.validate(); });
  if (error != nullptr) return answer(callback, nullptr, error);
  std::vector<std::string> sources;
  for (const AdapterMerge::Part& part : merge.parts)
    sources.push_back(adapter_key(options_.roots, part.name));
  get_entry(merge.key(), sources, &merge, std::move(callback));
}

std::shared_ptr<const Adapter> AdapterStore::load(const std::string& name) {
  using Promise = std::promise<std::shared_ptr<const Adapter>>;
  const auto promise =
      std::make_shared<Promise>();  // whoever sets it may still be at it when the value is there
  auto result = promise->get_future();
  get(name, [promise](std::shared_ptr<const Adapter> adapter, const std::exception_ptr& error) {
    if (error != nullptr)
      promise->set_exception(error);
    else
      promise->set_value(std::move(adapter));
  });
  return result.get();
}

std::vector<AdapterSignature> AdapterStore::signatures_of(const std::vector<std::string>& sources) const {
  std::vector<AdapterSignature> signatures;
  for (const std::string& source : sources)
    signatures.push_back(find_adapter(options_.roots, source).signature());
  return signatures;
}

// Names that nothing stands for leave no entry behind: whoever asks could make them up without end.
void AdapterStore::get_entry(const std::string& key, const std::vector<std::string>& sources,
                             const AdapterMerge* merge, Callback callback) {
  std::vector<AdapterSignature> now;
  const std::exception_ptr missing = error_of(shown_name(key), [&] { now = signatures_of(sources); });
  std::shared_ptr<const Adapter> adapter;
  std::exception_ptr error = missing;
  {
    const std::scoped_lock lock(mutex_);
    if (missing == nullptr) {
      if (merge != nullptr) forget_old_merge(key);
      Entry& entry = entries_[key];
      entry.info.name = shown_name(key);
      entry.sources = sources;
      if (merge != nullptr) entry.merge = *merge;
      const bool is_unchanged = entry.signatures == now;
      const bool is_failure_fresh = entry.info.state == AdapterState::kFailed && is_unchanged &&
                                    Clock::now() - entry.failed_at < options_.retry_failed_after;
      if (entry.info.state == AdapterState::kLoaded && is_unchanged) {
        adapter = entry.adapter;
        entry.last_use = ++last_use_;
        ++entry.info.uses;
      } else if (is_failure_fresh) {
        error = std::make_exception_ptr(Error(entry.error_code, entry.info.error));
      } else if (is_stopping_) {
        error = stopped_error();
      } else {
        entry.waiters.push_back(std::move(callback));
        if (entry.info.state != AdapterState::kLoading) queue_.push_back(key);
        entry.info.state = AdapterState::kLoading;
        wakes_.notify_all();
        return;
      }
    }
  }
  answer(callback, std::move(adapter), error);
}

// Whoever asks can think of merges without end: of those that are not loaded only so many are remembered.
void AdapterStore::forget_old_merge(const std::string& wanted) {
  if (entries_.contains(wanted)) return;
  size_t n_merges = 0;
  auto oldest = entries_.end();
  for (auto entry = entries_.begin(); entry != entries_.end(); ++entry) {
    if (entry->second.merge.parts.empty()) continue;
    ++n_merges;
    const bool is_idle =
        entry->second.adapter == nullptr && entry->second.info.state != AdapterState::kLoading;
    if (is_idle && (oldest == entries_.end() || entry->second.last_use < oldest->second.last_use))
      oldest = entry;
  }
  if (n_merges >= kMaxMerges && oldest != entries_.end()) entries_.erase(oldest);
}

void AdapterStore::run() {
  std::unique_lock lock(mutex_);
  while (true) {
    wakes_.wait(lock, [this] { return is_stopping_ || !queue_.empty(); });
    if (is_stopping_) return;
    const std::string key = queue_.front();
    queue_.pop_front();
    const Entry& entry = entries_.at(key);
    const std::vector<std::string> sources = entry.sources;
    const AdapterMerge merge = entry.merge;
    lock.unlock();
    finish(key, load_now(key, sources, merge));
    lock.lock();
  }
}

// The files may change while they are read: what was read must be of one version.
AdapterStore::Loaded AdapterStore::load_now(const std::string& name, const std::vector<std::string>& sources,
                                            const AdapterMerge& merge) {
  Loaded loaded;
  loaded.error = error_of(shown_name(name), [&] {
    AdapterDeltas deltas;
    for (int attempt = 1; true; ++attempt) {
      loaded.signatures = signatures_of(sources);
      deltas = read_all(sources, merge, loaded.signatures);
      if (signatures_of(sources) == loaded.signatures) break;
      if (attempt == kReadAttempts)
        throw_error(ErrorCode::kUnavailable, "its files change while they are read; try again");
    }
    {
      const std::scoped_lock lock(mutex_);
      const Entry& entry = entries_.at(name);
      if (entry.adapter != nullptr && entry.adapter->digest() == deltas.digest)
        loaded.adapter = entry.adapter;
    }
    if (loaded.adapter != nullptr) return;  // touched, not changed
    make_room(host_.device_bytes(deltas));
    loaded.adapter = host_.prepare(deltas, shown_name(name));
  });
  return loaded;
}

// The parts of a merge are there all at once, each once: what their files hold together is bounded before the
// first is read.
AdapterDeltas AdapterStore::read_all(const std::vector<std::string>& sources, const AdapterMerge& merge,
                                     const std::vector<AdapterSignature>& signatures) const {
  if (merge.parts.empty()) return read_source(sources.front());
  std::map<std::string, uint64_t> sizes;
  for (size_t i = 0; i < sources.size(); ++i) sizes[sources[i]] = signatures[i].tensors.bytes;
  uint64_t left = options_.memory;
  for (const auto& [source, bytes] : sizes) {
    if (bytes > left)
      throw_error(
          ErrorCode::kResourceExhausted,
          "the files of its {} adapters hold more than the {} bytes that all adapters together may take",
          sizes.size(), options_.memory);
    left -= bytes;
  }
  std::map<std::string, AdapterDeltas> read;
  std::vector<const AdapterDeltas*> parts;
  for (const std::string& source : sources) {
    const auto [at, is_new] = read.try_emplace(source);
    if (is_new) at->second = read_source(source);
    parts.push_back(&at->second);
  }
  return merged(merge, parts);
}

AdapterDeltas AdapterStore::read_source(const std::string& name) const {
  if (options_.requires_digest && !options_.allowed_digests.contains(name))
    throw_error(ErrorCode::kPermissionDenied,
                "only adapters whose content is pinned are loaded, this one is not");
  AdapterDeltas deltas = host_.read(find_adapter(options_.roots, name), shown_name(name));
  check_digest(name, deltas.digest);
  return deltas;
}

void AdapterStore::check_digest(const std::string& name, const std::string& digest) const {
  const auto allowed = options_.allowed_digests.find(name);
  if (allowed == options_.allowed_digests.end()) return;
  if (std::find(allowed->second.begin(), allowed->second.end(), digest) == allowed->second.end())
    throw_error(ErrorCode::kPermissionDenied, "its content has the SHA-256 {}, which is not what is pinned",
                digest);
}

uint64_t AdapterStore::used_bytes_locked() const {
  uint64_t bytes = 0;
  for (const auto& [name, entry] : entries_)
    if (entry.adapter != nullptr) bytes += entry.adapter->bytes();
  for (const auto& old : retired_)
    if (const auto held = old.lock()) bytes += held->bytes();
  return bytes;
}

uint64_t AdapterStore::used_bytes() const {
  const std::scoped_lock lock(mutex_);
  return used_bytes_locked();
}

int32_t AdapterStore::n_loaded() const {
  return static_cast<int32_t>(std::count_if(entries_.begin(), entries_.end(),
                                            [](const auto& item) { return item.second.adapter != nullptr; }));
}

// Until `bytes` more fit. Requests let go without telling, so it is looked at again and again.
void AdapterStore::make_room(uint64_t bytes) {
  const Clock::time_point deadline = Clock::now() + options_.wait_for_room;
  std::unique_lock lock(mutex_);
  if (bytes > options_.memory)
    throw_error(ErrorCode::kResourceExhausted, "it needs {} bytes, all adapters together may take {}", bytes,
                options_.memory);
  while (true) {
    std::erase_if(retired_, [](const auto& old) { return old.expired(); });
    const uint64_t used = used_bytes_locked();
    const bool is_slot_free = options_.max_loaded == 0 || n_loaded() < options_.max_loaded;
    if (used <= options_.memory - bytes && is_slot_free) return;
    if (evict_one()) continue;
    if (is_stopping_) throw_error(ErrorCode::kCancelled, "the model is being unloaded");
    if (Clock::now() >= deadline)
      throw_error(ErrorCode::kResourceExhausted,
                  "it needs {} bytes; {} adapters that requests use take {} of {}; try again later", bytes,
                  n_loaded(), used, options_.memory);
    wakes_.wait_for(lock, kLookForRoom);
  }
}

// The least recently used of those that nobody holds.
bool AdapterStore::evict_one() {
  Entry* oldest = nullptr;
  for (auto& [name, entry] : entries_)
    if (entry.adapter != nullptr && entry.adapter.use_count() == 1 &&
        (oldest == nullptr || entry.last_use < oldest->last_use))
      oldest = &entry;
  if (oldest == nullptr) return false;
  retire(*oldest);
  if (oldest->info.state == AdapterState::kLoaded) oldest->info.state = AdapterState::kEvicted;
  return true;
}

void AdapterStore::retire(Entry& entry) {
  if (entry.adapter != nullptr) retired_.push_back(entry.adapter);
  entry.adapter.reset();
  entry.info.bytes = 0;
}

void AdapterStore::finish(const std::string& name, Loaded&& loaded) {
  std::vector<Callback> waiters;
  {
    const std::scoped_lock lock(mutex_);
    Entry& entry = entries_.at(name);
    waiters.swap(entry.waiters);
    entry.signatures = std::move(loaded.signatures);
    if (entry.adapter != loaded.adapter) retire(entry);
    entry.adapter = loaded.adapter;
    entry.last_use = ++last_use_;
    entry.info.state = loaded.error == nullptr ? AdapterState::kLoaded : AdapterState::kFailed;
    entry.info.error.clear();
    if (loaded.error != nullptr) {
      entry.failed_at = Clock::now();
      try {
        std::rethrow_exception(loaded.error);
      } catch (const Error& error) {
        entry.info.error = error.what();
        entry.error_code = error.code();
      }
      spdlog::warn("{}", entry.info.error);
    } else {
      entry.info.bytes = loaded.adapter->bytes();
      entry.info.digest = loaded.adapter->digest();
      entry.info.max_rank = loaded.adapter->max_rank();
      entry.info.uses += static_cast<int64_t>(waiters.size());
      spdlog::info("adapter '{}': loaded, {} bytes, {}", entry.info.name, entry.info.bytes,
                   entry.info.digest);
    }
  }
  // The last one gets what is held here: when everybody has let go, nobody else holds it.
  for (size_t i = 0; i + 1 < waiters.size(); ++i) answer(waiters[i], loaded.adapter, loaded.error);
  if (!waiters.empty()) answer(waiters.back(), std::move(loaded.adapter), loaded.error);
}

bool AdapterStore::unload(const std::string& name) {
  const std::string key = adapter_key(options_.roots, name);
  const std::scoped_lock lock(mutex_);
  const auto found = entries_.find(key);
  if (found == entries_.end() || found->second.info.state != AdapterState::kLoaded) return false;
  retire(found->second);
  found->second.info.state = AdapterState::kEvicted;
  return true;
}

std::vector<AdapterInfo> AdapterStore::list() const {
  const std::vector<std::string> present = list_adapters(options_.roots, kMaxListed);
  const std::scoped_lock lock(mutex_);
  std::vector<AdapterInfo> infos;
  for (const auto& [name, entry] : entries_) {
    infos.push_back(entry.info);
    infos.back().is_in_use = entry.adapter != nullptr && entry.adapter.use_count() > 1;
  }
  for (const std::string& name : present)
    if (!entries_.contains(name)) infos.emplace_back().name = name;
  std::sort(infos.begin(), infos.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  return infos;
}

}  // namespace llmhost::engine
