// The models a server has: some loaded from the start and pinned, others loaded when they are asked for and
// given back, least recently used first, when their memory is needed. What is loaded is planned first: a
// model that does not fit beside what is held waits, or is refused with the figures.
#pragma once

#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "serve/models/served_model.h"

namespace llmhost::serve {

enum class ModelState { kKnown, kQueued, kLoading, kLoaded, kFailed };
std::string_view to_text(ModelState state);  // "known", "queued", "loading", "loaded", "failed"

struct ModelStatus {
  std::string id;
  ModelState state = ModelState::kKnown;
  bool pinned = false;
  double progress = 0;                 // of loading, 0 to 1
  std::string error;                   // of the last load that failed: one line, no path
  std::shared_ptr<ServedModel> model;  // when loaded
  uint64_t planned_bytes = 0;          // 0: not planned yet
};

// A model that is not ready and that the caller does not wait for.
class ModelNotReady : public Error {
 public:
  ModelNotReady(const std::string& message, ModelState now, double load_progress, int64_t seconds)
      : Error(ErrorCode::kUnavailable, message),
        state(now),
        progress(load_progress),
        retry_after_s(seconds) {}
  ModelState state;
  double progress;
  int64_t retry_after_s;
};

class ModelPool {
 public:
  virtual ~ModelPool() = default;

  // Calls `ready` once, soon or after loading, from any thread: the model, or why not: kNotFound (no such
  // model), ModelNotReady (by configuration nobody waits for loads), kResourceExhausted (it can never fit, or
  // too many wait), or what loading it threw. `name` may be "model:adapter" or an adapter's name where that
  // is known for one model: then `adapter` says which. Returns a ticket for forget().
  using Ready =
      std::function<void(std::shared_ptr<ServedModel> model, std::string adapter, std::exception_ptr)>;
  virtual uint64_t acquire(std::string_view name, Ready ready) = 0;
  // The caller does not wait any more. Never blocks: a `ready` that is being called goes on, and sees for
  // itself that nobody waits.
  virtual void forget(uint64_t ticket) = 0;

  virtual std::vector<ModelStatus> list() const = 0;
  virtual uint64_t memory_budget() const = 0;
  virtual uint64_t memory_used() const = 0;
  // All that is to be loaded from the start is.
  virtual bool is_ready() const = 0;

  // For admins. Unloading waits for nothing: running requests finish first.
  virtual void load(std::string_view id) = 0;
  virtual void unload(std::string_view id) = 0;
};

}  // namespace llmhost::serve
