// Text from a model, for every endpoint alike: engine requests made of prompts and options, their tokens
// collected or streamed through the endpoint's writer, ended when the client goes, counted and charged.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "serve/api/call.h"
#include "serve/api/parameters.h"
#include "serve/api/token_text.h"
#include "text/grammar/grammar.h"
#include "text/tools/tool_parser.h"

namespace llmhost::serve {

// A token with its logprobs, as far as they were asked for.
struct TokenRecord {
  int32_t token = 0;
  bool has_logprob = false;  // the prompt's first token has none
  double logprob = 0;
  std::vector<engine::TokenLogprob> top;
};

// One answer, in progress or done.
struct Choice {
  int32_t index = 0;
  size_t prompt = 0;  // which
  uint64_t seed = 0;
  std::string text;  // all of it, or what is left as content
  std::string reasoning;
  std::vector<text::ParsedCall> calls;
  std::vector<TokenRecord> tokens;         // when logprobs were asked for
  std::vector<TokenRecord> prompt_tokens;  // when theirs were
  double sum_logprobs = 0;
  engine::Result result;
  bool is_done = false;
};

// What came with one token.
struct Piece {
  std::string_view content;
  std::span<const text::ToolDelta> deltas;  // with a parser of replies, instead of content
  const TokenRecord* token = nullptr;       // when logprobs were asked for
};

struct PromptInput {
  std::vector<int32_t> tokens;
  std::string text;
};

// What all parts of an answer know.
struct AnswerFacts {
  std::string id;
  std::string model;  // as the answer names it
  int64_t created = 0;
  ModelUse use;
  TextOptions options;
  std::vector<PromptInput> prompts;
  std::string_view prompt_field = "messages";  // where the request has them
  std::vector<std::string> ignored;
  std::shared_ptr<const TokenNames> names;  // when logprobs are asked for
};

struct AnswerUsage {
  int64_t prompt_tokens = 0;
  int64_t output_tokens = 0;
  int64_t cached_tokens = 0;
};

// An endpoint's form of answers. The functions for streams append what is to be sent. Called by one thread at
// a time, most of them on an engine's thread: they must be quick.
class AnswerWriter {
 public:
  virtual ~AnswerWriter() = default;

  virtual std::string whole(const AnswerFacts& facts, std::span<const Choice* const> choices,
                            const AnswerUsage& usage) = 0;

  virtual void begin(const AnswerFacts& facts, std::string& out) = 0;
  virtual void piece(const Choice& choice, const Piece& piece, std::string& out) = 0;
  virtual void choice_end(const Choice& choice, std::string& out) = 0;
  virtual void end(const AnswerFacts& facts, std::span<const Choice* const> choices, const AnswerUsage& usage,
                   std::string& out) = 0;
  virtual void error(const ApiError& error, std::string_view request_id, std::string& out) = 0;
};

struct GenerationPlan {
  AnswerFacts facts;
  std::unique_ptr<AnswerWriter> writer;
  std::shared_ptr<const text::Grammar> grammar;
  // How replies are taken apart; none: they are content as they stand.
  std::optional<text::ToolFormat> format;
  text::ToolParserOptions parser;
  bool single_call = false;  // no call after the first is taken
};

// Checks the plan against the context and submits it. Throws what the caller is to be told; later errors go
// to the call.
void start_generation(const std::shared_ptr<Call>& call, GenerationPlan plan);

// Options with the model's defaults and the request's fields.
TextOptions options_for(Body body, const CheckedBody& checked, const ServedModel& model);

}  // namespace llmhost::serve
