// A model that answers prompts: everything between a path and streamed text, for `run` in all its forms. One
// conversation at a time, whose state is kept so that a longer prompt computes only what is new.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <future>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "cli/chat_prompt.h"
#include "cli/model_options.h"
#include "cli/speculation.h"
#include "engine/engine.h"
#include "engine/sampling_settings.h"
#include "engine/session.h"

namespace llmhost::cli {

struct AnswerLimits {
  int64_t max_tokens = engine::Request::kToEndOfContext;  // less when the context ends before
  std::vector<std::string> stop_strings;
};

struct AnswerTimes {
  double prompt_s = 0;    // from the request to its first token
  double generate_s = 0;  // from the first token to the last
  int64_t steps = 0;      // that generate_s stands for
};

struct Answer {
  engine::Result result;
  AnswerTimes times;
  bool context_is_full = false;
  bool speculated = false;  // tokens were proposed, or could have been
};

class ChatModel {
 public:
  // Takes the text that may be shown; false ends the answer.
  using Sink = std::function<bool(std::string_view)>;

  ChatModel(const std::string& path, const Settings& settings, PromptMaker::Form form);

  const model::LoadedModel& model() const { return opened_.model(); }
  const OpenedModel& opened() const { return opened_; }
  const PromptMaker& prompts() const { return *prompts_; }
  int64_t max_context() const { return engine_->max_context(); }

  // Runs until the answer ends, the sink says so, or Ctrl-C (see chat_interrupt.h): kCancelled with what came
  // so far. Throws when the prompt leaves no room in the context (with both numbers) or the engine fails.
  Answer answer(const Prompt& prompt, const engine::SamplingParams& sampling, const AnswerLimits& limits,
                const Sink& sink);

  // Forgets the state of the conversation.
  void clear() { session_->clear(); }

 private:
  engine::Request make_request(const Prompt& prompt, const engine::SamplingParams& sampling,
                               const AnswerLimits& limits) const;

  // Reading a vocabulary takes as long as reading the model: both at once.
  std::future<std::shared_ptr<const text::Tokenizer>> tokenizer_;
  OpenedModel opened_;
  std::unique_ptr<PromptMaker> prompts_;
  std::unique_ptr<Speculation> speculation_;
  std::unique_ptr<engine::Engine> engine_;
  std::unique_ptr<engine::Session> session_;
};

}  // namespace llmhost::cli
