// What the connections of a server share. All but the count of running requests is for the I/O thread alone.
#pragma once

#include <algorithm>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <utility>

#include "serve/http/answer.h"
#include "serve/http/gate.h"
#include "serve/http/metrics.h"
#include "serve/http/server.h"
#include "serve/http/worker_pool.h"

namespace llmhost::serve {

struct ServerState {
  ServerState(ServerOptions server_options, std::shared_ptr<Metrics> all_metrics)
      : options(std::move(server_options)), metrics(std::move(all_metrics)) {}

  ServerOptions options;
  HttpMetrics metrics;
  std::shared_ptr<Gate> gate;
  std::shared_ptr<Waker> waker;
  WorkerPool* workers = nullptr;
  size_t body_bytes = 0;

  std::mutex mutex;
  std::condition_variable idle;
  size_t running = 0;  // under the mutex
};

// One more running request, for wait_drained.
class Running {
 public:
  explicit Running(ServerState& state) : state_(state) {
    state_.metrics.running.add(1);
    const std::lock_guard lock(state_.mutex);
    ++state_.running;
  }
  ~Running() {
    state_.metrics.running.add(-1);
    const std::lock_guard lock(state_.mutex);
    if (--state_.running == 0) state_.idle.notify_all();
  }
  Running(const Running&) = delete;
  Running& operator=(const Running&) = delete;

 private:
  ServerState& state_;
};

// Bytes of a body, counted against the limit for all bodies together.
class BodyBytes {
 public:
  explicit BodyBytes(ServerState& state) : state_(state) {}
  ~BodyBytes() { state_.body_bytes -= held_; }
  BodyBytes(const BodyBytes&) = delete;
  BodyBytes& operator=(const BodyBytes&) = delete;

  // False: too many.
  bool add(uint64_t bytes) {
    const size_t limit = state_.options.max_bodies_bytes;
    if (bytes > limit - std::min(state_.body_bytes, limit)) return false;
    held_ += bytes;
    state_.body_bytes += bytes;
    return true;
  }

 private:
  ServerState& state_;
  size_t held_ = 0;
};

}  // namespace llmhost::serve
