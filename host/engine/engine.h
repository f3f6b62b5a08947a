// Continuous batching: every step runs the tokens of all sequences that have their turn, decoding and prompts
// mixed, as the scheduler plans it, and samples. Requests come and go between steps.
//
// A request's tokens depend on the model, its prompt, its parameters and its seed alone as long as the
// backend keeps its promise that a sequence's numbers do not depend on the rest of the batch, on chunking or
// on threads.
//
// One thread at a time; an exception leaves run_step only for misuse. What fails inside a step (the backend,
// NaN in the logits, a callback) ends the requests concerned with FinishReason::kError.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "engine/kept_states.h"
#include "engine/pages.h"
#include "engine/prefix_cache.h"
#include "engine/request.h"
#include "engine/runner.h"
#include "engine/sampler.h"
#include "engine/scheduler.h"
#include "engine/sequence.h"
#include "engine/speculation.h"
#include "engine/step_batch.h"

namespace llmhost::engine {

struct EngineOptions {
  int32_t prefill_chunk =
      0;  // most prompt tokens of one sequence in a step; 0: up to the runner's max_tokens
  int32_t starvation_bound = 64;  // later arrivals that may overtake a waiting request
  int64_t max_waiting = 10'000;   // further requests are refused
  PrefixCacheOptions prefix_cache;
};

struct EngineStats {
  int64_t steps = 0;
  int64_t prompt_tokens = 0;  // run through the model, recomputed ones included
  int64_t output_tokens = 0;
  int64_t preemptions = 0;
  int64_t proposed = 0;  // tokens guessed by speculation
  int64_t accepted = 0;
  // Full pages of the texts of requests that began or went on after preemption.
  int64_t prefix_hits = 0;    // that the prefix cache had
  int64_t prefix_misses = 0;  // that it did not have
  int64_t prefix_evictions = 0;
};

class Engine {
 public:
  // The runner must outlive the engine, which is its only user. With a proposer tokens are guessed and
  // verified several a step, as far as the runner's max_outputs beyond one a sequence allow.
  explicit Engine(ModelRunner& runner, const EngineOptions& options = {},
                  std::unique_ptr<Proposer> proposer = nullptr);
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // Throws kInvalidArgument for a request that can never run (the message has both numbers when it does not
  // fit into the context). [thread-safe]
  void check(const Request& request) const;

  // Checks it and throws as check() does, or kResourceExhausted when too many wait.
  RequestId submit(Request request);

  // The request ends with kCancelled, at once or, from a callback, with the step that runs. False: it is not
  // there.
  bool cancel(RequestId id);

  // From the next step on at most so many tokens in one (and never more than the runner takes), so that steps
  // are short; a few more than there are running sequences in any case.
  void limit_step(int32_t tokens) { step_tokens_ = tokens; }

  // Runs one step; false when there is nothing to do.
  bool run_step();
  // Runs steps until this request is finished, or all are.
  void run_until(RequestId id);
  void run_all();

  // The result of a finished request without on_finish, once.
  std::optional<Result> take_result(RequestId id);
  // Gives back the state kept for continue_from.
  void release_state(RequestId id);

  bool idle() const { return sequences_.empty(); }
  int32_t last_step_tokens() const { return plan_.total_tokens; }
  int32_t n_running() const { return static_cast<int32_t>(scheduler_.running.size()); }
  int32_t n_waiting() const { return static_cast<int32_t>(scheduler_.waiting.size()); }
  int32_t free_pages() const { return pages_.n_free(); }
  int32_t unused_pages() const { return pages_.n_unused(); }  // free, or kept until they are needed
  int32_t cached_pages() const { return prefixes_.n_pages(); }
  int32_t n_pages() const { return pages_.n_pages(); }
  const EngineStats& stats() const { return stats_; }
  const ModelRunner& runner() const { return runner_; }
  int64_t max_context() const { return runner_.options().max_context; }

 private:
  // One sequence in the step that runs.
  struct Participant {
    Sequence* sequence = nullptr;
    int32_t n_tokens = 0;
    int32_t first_row = 0;  // of its logits
    int32_t n_rows = 0;
    int32_t n_proposed = 0;  // of its tokens, at their end
  };

  int64_t checked_max_tokens(const Request& request) const;
  Sequence& sequence(RequestId id) { return *sequences_.at(id); }

  void propose();
  void plan();
  void look_up_waiting();
  void count_shared_pages();
  int32_t outstanding_pages() const;
  bool claims_kept(const Sequence& sequence) const;
  void preempt();
  void admit(Sequence& sequence);
  void take_over_state(Sequence& sequence);
  void take_part(Sequence& sequence, const PlannedSequence& planned);
  void grow_pages(Sequence& sequence, int64_t tokens);
  void fill_batch(Participant& participant);
  void run_batch();
  void publish_pages();
  void run_step_program();
  void take_outputs(const Participant& participant);
  bool choose_token(Sequence& sequence, std::span<const float> row);
  void deliver_prompt_rows(const Participant& participant);
  void count(const Participant& participant);
  void retire();
  void finish(Sequence& sequence);
  void update_scheduler();

  ModelRunner& runner_;
  EngineOptions options_;
  SchedulerLimits limits_;
  SchedulerState scheduler_;
  Plan plan_;
  PageAllocator pages_;
  KeptStates kept_;
  PrefixCache prefixes_;
  StepBatch batch_;
  Sampler sampler_;
  Choice choice_;
  std::unique_ptr<Proposer> proposer_;
  std::vector<Sequence*> to_propose_;
  std::vector<Participant> participants_;
  std::span<const float> logits_;  // of the step's output rows; empty when nobody wants them
  std::span<const float> hidden_;
  std::vector<RequestId> retired_;
  std::vector<int32_t> page_marks_;  // [pages] the last count_shared_pages() that saw it
  int32_t page_mark_ = 0;
  std::vector<RequestId> cancelled_;  // from callbacks of the step that runs
  std::unordered_map<RequestId, std::unique_ptr<Sequence>> sequences_;
  std::unordered_map<RequestId, Result> results_;
  EngineStats stats_;
  RequestId last_id_ = 0;
  Hash128 seed_key_ = random_key();  // of seeds that requests do not give
  int32_t step_tokens_;
  bool in_step_ = false;
};

}  // namespace llmhost::engine
