// The models that a pool knows, by name: what is configured, and what is found below the roots. No lock of
// its own: the pool's guards it.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <exception>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "serve/models/configuration.h"
#include "serve/models/model_loader.h"
#include "serve/models/model_pool.h"

namespace llmhost::serve {

using PoolClock = std::chrono::steady_clock;

struct PoolWaiter {
  uint64_t ticket = 0;
  std::string adapter;
  ModelPool::Ready ready;
  PoolClock::time_point deadline;
};

std::exception_ptr pool_error(ErrorCode code, const std::string& message);

// One model. Its place in memory is its identity: entries are never removed.
struct PoolEntry {
  explicit PoolEntry(ModelConfig of_model) : config(std::move(of_model)), is_awaited(config.preload) {}

  ModelConfig config;
  ModelState state = ModelState::kKnown;
  double progress = 0;
  std::exception_ptr failure;  // of the last load, worded for strangers
  std::string error;
  bool is_awaited = false;  // is to be there from the start, and was not yet
  PoolClock::time_point failed_at;
  RunningModel running;        // when loaded
  uint64_t bytes = 0;          // that it holds, or will while it is loaded
  uint64_t planned_bytes = 0;  // as far as known from an earlier load
  int64_t holders = 0;         // leases of the model
  uint64_t last_used = 0;      // larger is later
  bool is_closing = false;     // takes no new requests, and is unloaded when nobody holds it
  std::vector<PoolWaiter> waiters;

  bool is_loaded() const { return state == ModelState::kLoaded; }
  bool can_go() const { return is_loaded() && holders == 0 && (is_closing || !config.pinned); }
};

class PoolEntries {
 public:
  explicit PoolEntries(const ServeConfig& config);

  struct Found {
    PoolEntry* entry = nullptr;  // null: there is no such model
    std::string adapter;
  };
  // A model, "model:adapter", or an adapter that one model alone has.
  Found find(std::string_view name);

  std::deque<PoolEntry>& all() { return entries_; }
  const std::deque<PoolEntry>& all() const { return entries_; }

 private:
  PoolEntry* find_model(std::string_view name);
  Found find_known(std::string_view name);
  void scan_roots();

  Settings settings_;  // of models below roots
  std::vector<std::filesystem::path> roots_;
  PoolClock::time_point scanned_;
  std::deque<PoolEntry> entries_;
};

}  // namespace llmhost::serve
