// The adapters of one model by name: loaded from allowed folders at first use on a thread of the store's own,
// kept under a budget, loaded anew when their files change.
//
// A request holds its adapter: what is evicted, unloaded or replaced meanwhile lives until the last request
// lets go, and counts against the budget until then. A load that fails is told to those who asked for it and
// touches nothing else.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "engine/adapter.h"
#include "engine/adapter_merge.h"

namespace llmhost::engine {

enum class AdapterState {
  kKnown,    // in a root, never loaded
  kLoading,  // read, or waiting for its turn
  kLoaded,
  kFailed,   // AdapterInfo::error says why; tried again when the files change or after a while
  kEvicted,  // gave way, or was unloaded
};
std::string_view to_text(AdapterState state);  // "known", "loading", "loaded", "failed", "evicted"

struct AdapterInfo {
  std::string name;
  AdapterState state = AdapterState::kKnown;
  uint64_t bytes = 0;  // on the device, when loaded
  std::string digest;  // of the last version that was read; empty: never read
  int32_t max_rank = 0;
  int64_t uses = 0;        // times it was handed out
  bool is_in_use = false;  // somebody holds the version that is loaded
  std::string error;       // of the last load, when it failed
};

struct AdapterStoreOptions {
  std::vector<std::filesystem::path>
      roots;                            // an adapter is a folder directly below one, or deeper by its path
  uint64_t memory = uint64_t{1} << 30;  // of all adapters on the device
  int32_t max_loaded = 0;               // 0: as many as fit
  // When all that is loaded is held by requests: wait so long for one to be let go, then refuse. 0: refuse at
  // once.
  std::chrono::milliseconds wait_for_room{10'000};
  std::chrono::milliseconds retry_failed_after{30'000};  // while the files stay as they are
  // With `requires_digest` only these are loaded, by name, and only with one of these contents (SHA-256,
  // hex).
  bool requires_digest = false;
  std::map<std::string, std::vector<std::string>> allowed_digests;
};

class AdapterStore {
 public:
  // Exactly one of both is null. Runs on the caller's thread inside get() when the answer is known at once,
  // else on the store's thread; must not block.
  using Callback = std::function<void(std::shared_ptr<const Adapter>, std::exception_ptr)>;

  // The host must outlive it.
  AdapterStore(const AdapterHost& host, AdapterStoreOptions options);
  ~AdapterStore();  // waits for the load that runs; those that wait are told kCancelled
  AdapterStore(const AdapterStore&) = delete;
  AdapterStore& operator=(const AdapterStore&) = delete;

  // What the destructor does, before it: from then on whoever asks for what is not loaded is told kCancelled.
  // Not from a callback.
  void stop();

  // `name` of a folder below a root, or an absolute path below one. [thread-safe], like all that follow
  void get(const std::string& name, Callback callback);
  // An adapter made of others by their names; the same merge is made once.
  void get_merged(const AdapterMerge& merge, Callback callback);
  // Blocks.
  std::shared_ptr<const Adapter> load(const std::string& name);
  // False when it is not loaded.
  bool unload(const std::string& name);

  // All that were asked for, and those in the roots (at most 10,000), by name.
  std::vector<AdapterInfo> list() const;
  uint64_t used_bytes() const;  // what is replaced and still held included
  const AdapterStoreOptions& options() const { return options_; }

 private:
  using Clock = std::chrono::steady_clock;
  struct Entry {
    AdapterInfo info;
    std::vector<std::string> sources;  // names; several: merged
    AdapterMerge merge;
    std::vector<AdapterSignature> signatures;  // of the sources, as they were last read
    std::shared_ptr<const Adapter> adapter;
    ErrorCode error_code = ErrorCode::kOk;
    Clock::time_point failed_at;
    uint64_t last_use = 0;
    std::vector<Callback> waiters;
  };
  struct Loaded {
    std::shared_ptr<const Adapter> adapter;
    std::vector<AdapterSignature> signatures;
    std::exception_ptr error;
  };

  void get_entry(const std::string& key, const std::vector<std::string>& sources, const AdapterMerge* merge,
                 Callback callback);
  std::vector<AdapterSignature> signatures_of(const std::vector<std::string>& sources) const;
  void forget_old_merge(const std::string& wanted);
  void run();
  Loaded load_now(const std::string& name, const std::vector<std::string>& sources,
                  const AdapterMerge& merge);
  AdapterDeltas read_all(const std::vector<std::string>& sources, const AdapterMerge& merge,
                         const std::vector<AdapterSignature>& signatures) const;
  AdapterDeltas read_source(const std::string& name) const;
  void check_digest(const std::string& name, const std::string& digest) const;
  void make_room(uint64_t bytes);
  bool evict_one();
  void retire(Entry& entry);
  uint64_t used_bytes_locked() const;
  int32_t n_loaded() const;
  void finish(const std::string& name, Loaded&& loaded);

  const AdapterHost& host_;
  const AdapterStoreOptions options_;
  mutable std::mutex mutex_;
  std::condition_variable wakes_;
  std::map<std::string, Entry> entries_;
  std::deque<std::string> queue_;
  std::vector<std::weak_ptr<const Adapter>> retired_;
  uint64_t last_use_ = 0;
  bool is_stopping_ = false;
  std::thread thread_;
};

}  // namespace llmhost::engine
