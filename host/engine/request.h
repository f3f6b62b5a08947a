// What the engine is asked and what it answers.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/cache_scope.h"
#include "engine/sampler.h"
#include "engine/sampling_params.h"
#include "engine/token_constraint.h"

namespace llmhost::engine {

class Adapter;

using RequestId = uint64_t;  // 0 is none

enum class FinishReason {
  kStop,       // a stop token, a stop string, or on_token said so
  kLength,     // max_tokens
  kCancelled,  // Engine::cancel
  kError,      // Result::error says what
};
std::string_view to_text(FinishReason reason);  // "stop", "length", "cancelled", "error"

// Turns tokens into text, incomplete characters held back. One object a request.
class TokenDecoder {
 public:
  virtual ~TokenDecoder() = default;
  virtual void push(int32_t token, std::string& out) = 0;  // appends
  virtual void finish(std::string& out) = 0;               // appends what was held back
};

// A new token of the output. Once more with `choice` null when a stop token set text free that was held back.
struct TokenEvent {
  RequestId request;
  const Choice* choice;
  int64_t n_output;       // tokens of the output so far
  std::string_view text;  // that may be shown now; may be empty; stop strings are cut off
};

// Logits of consecutive prompt positions; row i follows position first_position + i.
struct PromptLogits {
  RequestId request;
  int64_t first_position;
  int64_t n_rows;
  std::span<const float> rows;  // [n_rows, V], valid during the callback
};

// Hidden states of consecutive prompt positions, as they are before the output head.
struct PromptHidden {
  RequestId request;
  int64_t first_position;
  int64_t n_rows;
  std::span<const float> rows;  // [n_rows, D], valid during the callback
};

struct Usage {
  int64_t prompt_tokens = 0;
  int64_t reused_tokens = 0;  // of the prompt, taken over from other requests' state
  int64_t output_tokens = 0;
  int32_t preemptions = 0;
  int64_t steps = 0;     // of the model that gave output tokens
  int64_t proposed = 0;  // output tokens guessed by speculation
  int64_t accepted = 0;  // of them that stand in the output
};

struct Result {
  RequestId request = 0;
  FinishReason reason = FinishReason::kStop;
  std::vector<int32_t> tokens;  // the output, without the stop token
  std::string text;             // with a decoder: the output up to the stop string
  int32_t stop_token = -1;      // that ended it, or -1
  std::string stop_string;      // that ended it, or empty
  std::string error;            // one line, for kError
  uint64_t seed = 0;            // that was used
  Usage usage;
};

// Callbacks run inside Engine::run_step, may submit and cancel, and must not call run_step. An exception from
// one ends its request with kError.
struct Request {
  static constexpr int64_t kToEndOfContext = -1;

  std::vector<int32_t> prompt;  // at least one token
  SamplingParams sampling;
  int64_t max_tokens = kToEndOfContext;  // 0: only the prompt is run
  std::vector<int32_t> stop_tokens;
  std::vector<std::string> stop_strings;   // need a decoder
  int32_t priority = 0;                    // higher goes first
  std::shared_ptr<const Adapter> adapter;  // null: the base model
  std::unique_ptr<TokenDecoder> decoder;
  // Decides which tokens may be chosen; when it is complete, the request finishes with kStop. Such a request
  // takes no proposals of speculation.
  std::unique_ptr<TokenConstraint> constraint;

  // With whom state of the same tokens is shared; never between adapters, whatever it says.
  CacheScope cache_scope;
  // Keep the state when it is finished, for a later request's continue_from (until the memory is needed).
  bool keep_state = false;
  // A finished request whose kept state is taken over as far as both begin with the same tokens, if both have
  // the same scope.
  RequestId continue_from = 0;

  std::function<void(RequestId)> on_start;          // it has its first turn
  std::function<bool(const TokenEvent&)> on_token;  // false: finish with kStop
  std::function<void(const PromptLogits&)>
      on_prompt_logits;  // logits of every prompt position, each once, ascending
  // Hidden states of every prompt position, each once, ascending, or of the prompt's last alone.
  std::function<void(const PromptHidden&)> on_prompt_hidden;
  bool hidden_of_last = false;
  std::function<void(std::span<const float>)>
      on_token_logits;                      // [V], the row each token is about to be chosen from
  std::function<void(Result&&)> on_finish;  // null: Engine::take_result has it
};

}  // namespace llmhost::engine
