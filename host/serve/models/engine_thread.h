// An engine on a thread of its own: requests and cancellations are left in a mailbox that the thread empties
// between two steps; it runs steps as long as there is something to do and sleeps otherwise.
//
// A cancellation takes effect when the step that runs ends: steps are kept short (step_pace.h). While the
// thread waits for its turn on a device that others use, it reads its mail as well. What a step throws ends
// the requests that are there, with FinishReason::kError, and the thread goes on.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "engine/engine.h"
#include "serve/models/device_turn.h"
#include "serve/models/step_pace.h"

namespace llmhost::serve {

struct EngineThreadOptions {
  engine::EngineOptions engine;
  double step_s = 0.08;  // how long a step should take at most
};

struct EngineLoad {
  int32_t running = 0;
  int32_t waiting = 0;
  engine::EngineStats stats;
};

// [thread-safe]
class EngineThread {
 public:
  // The runner must outlive it.
  EngineThread(engine::ModelRunner& runner, const EngineThreadOptions& options,
               std::unique_ptr<engine::Proposer> proposer, std::shared_ptr<DeviceTurn> turn);
  ~EngineThread();
  EngineThread(const EngineThread&) = delete;
  EngineThread& operator=(const EngineThread&) = delete;

  // Throws kInvalidArgument for a request that can never run, kResourceExhausted when too many wait,
  // kUnavailable after stop(). Its callbacks run on the thread.
  uint64_t submit(engine::Request request);
  // The request ends with kCancelled. One that is not there is ignored. Never blocks.
  void cancel(uint64_t ticket);
  EngineLoad load() const;

  // Cancels everything and ends the thread. Not from a callback.
  void stop();

 private:
  struct Letter {
    uint64_t ticket;
    engine::Request request;
  };

  void run();
  bool take_turn(DeviceTurn::Ticket ticket);
  void run_step();
  void read_mail();
  void submit_now(Letter letter);
  void wait_for_mail();
  void end_all(const std::string& error);
  void publish();

  engine::Engine engine_;
  const int64_t max_waiting_;
  std::shared_ptr<DeviceTurn> turn_;

  mutable std::mutex mutex_;
  std::condition_variable mail_came_;
  std::vector<Letter> submitted_;
  std::vector<uint64_t> cancelled_;
  uint64_t last_ticket_ = 0;
  bool is_stopped_ = false;
  EngineLoad load_;  // as of the last step
  std::atomic<bool> has_mail_{false};
  std::atomic<int32_t> n_requests_{0};  // handed in and not finished

  // The thread's own.
  StepPace pace_;
  std::vector<Letter> reading_;
  std::vector<uint64_t> to_cancel_;
  std::unordered_map<uint64_t, engine::RequestId> requests_;  // by ticket
  std::string failure_;                                       // not empty: why all requests end
  std::thread thread_;
};

}  // namespace llmhost::serve
