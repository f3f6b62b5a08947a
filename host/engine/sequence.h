// One request inside the engine: its tokens, pages, sampler and text.
#pragma once

#include <cstdint>
#include <exception>
#include <string>
#include <vector>

#include "engine/pages.h"
#include "engine/prefix_cache.h"
#include "engine/request.h"
#include "engine/speculation.h"
#include "engine/stops.h"

namespace llmhost::engine {

struct Sequence {
  // `max_tokens` is the request's, resolved.
  Sequence(RequestId request_id, Request&& from, int64_t max_output, uint64_t random_seed);

  // Makes room for all the tokens and pages that it may get: what waits takes none.
  void start(int32_t page_tokens);

  int64_t n_output() const { return static_cast<int64_t>(tokens.size()) - prompt_length; }
  // Whether rows of every prompt position are to be delivered.
  bool wants_prompt_rows() const;
  bool wants_logits() const { return request.on_prompt_logits || max_tokens > 0; }
  bool is_stop_token(int32_t token) const;
  // Tokens of its text whose state may be taken over from elsewhere: the logits of the last are needed, and
  // those of the prompt that are to be delivered.
  int64_t reusable_tokens() const;
  // Whether the next step samples one token of it, and more could follow.
  bool wants_proposals() const;

  // Adds a chosen token and its text to the output. Sets the finish reason when it ends the request.
  void accept(const Choice& choice);
  void finish(FinishReason why);  // the first reason counts
  void fail(const std::exception& error);
  Result result();  // once, when finished

  RequestId id;
  Request request;
  int64_t prompt_length;
  int64_t max_tokens;
  uint64_t seed;
  std::vector<int32_t> tokens;  // prompt and output
  int64_t computed = 0;         // tokens in the state
  int64_t delivered = 0;        // prompt positions given to on_prompt_logits and on_prompt_hidden
  PageTable pages;
  PrefixChain prefix;
  bool started = false;
  SamplerState sampler;
  Proposals proposals;      // tokens that may follow, not verified
  RequestId continued = 0;  // whose kept state it asked for
  StopMatcher stops;
  Usage usage;

  bool finished = false;
  FinishReason reason = FinishReason::kStop;
  int32_t stop_token = -1;
  std::string error;

 private:
  void add_text(int32_t token, bool is_output);

  std::string text_;   // all the text shown
  std::string piece_;  // of the decoder
};

}  // namespace llmhost::engine
