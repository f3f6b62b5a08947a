#include "cli/chat_model.h"

#include <algorithm>

#include "cli/chat_interrupt.h"
#include "cli/support.h"
#include "core/error.h"
#include "engine/model_settings.h"
#include "engine/text_decoder.h"

namespace llmhost::cli {
namespace {

using Clock = std::chrono::steady_clock;

double seconds(Clock::duration duration) {
  return std::chrono::duration<double>(duration).count();
}

engine::RunnerOptions limits_for_one(const Settings& settings, const model::LoadedModel& model) {
  engine::RunnerOptions limits = generation_limits(settings, model.info());
  limits.max_sequences = 1;
  limits.max_outputs = 1;
  limits.max_tokens = static_cast<int32_t>(std::min<int64_t>(limits.max_tokens, limits.max_context));
  return with_speculation(settings, limits);
}

}  // namespace

ChatModel::ChatModel(const std::string& path, const Settings& settings, PromptMaker::Form form)
    : tokenizer_(
          std::async(std::launch::async, [path] { return text::load_tokenizer(tokenizer_path(path)); })),
      opened_(path, settings, engine::RunUse::kGeneration,
              [&](const model::LoadedModel& model) { return limits_for_one(settings, model); }) {
  prompts_ = std::make_unique<PromptMaker>(model().checkpoint(), tokenizer_.get(), settings, form);
  engine::EngineOptions options;
  options.prefill_chunk = static_cast<int32_t>(settings.get_int("engine.prefill_chunk"));
  speculation_ = std::make_unique<Speculation>(settings, opened_, prompts_->tokenizer());
  engine_ = std::make_unique<engine::Engine>(opened_.stack().runner(), options, speculation_->proposer());
  session_ = std::make_unique<engine::Session>(*engine_);
}

engine::Request ChatModel::make_request(const Prompt& prompt, const engine::SamplingParams& sampling,
                                        const AnswerLimits& limits) const {
  const auto length = static_cast<int64_t>(prompt.ids.size());
  if (length == 0) throw_invalid("the prompt has no tokens; say something");
  if (length >= max_context())
    throw_invalid(
        "the prompt has {} tokens, the context holds {} with the answer; shorten it or raise --context (the "
        "model can attend to {})",
        length, max_context(), model().info().context_length);
  engine::Request request;
  request.prompt = prompt.ids;
  request.sampling = sampling;
  request.adapter = opened_.adapter();
  request.max_tokens = limits.max_tokens;
  if (limits.max_tokens > max_context() - length) request.max_tokens = engine::Request::kToEndOfContext;
  request.stop_tokens = engine::stop_tokens(prompts_->tokenizer(), model().checkpoint());
  request.stop_strings = limits.stop_strings;
  request.decoder = std::make_unique<engine::TextDecoder>(prompts_->tokenizer());
  return request;
}

Answer ChatModel::answer(const Prompt& prompt, const engine::SamplingParams& sampling,
                         const AnswerLimits& limits, const Sink& sink) {
  engine::Request request = make_request(prompt, sampling, limits);
  std::optional<Clock::time_point> first;
  request.on_token = [&](const engine::TokenEvent& event) {
    if (!first) first = Clock::now();
    return event.text.empty() || sink(event.text);
  };
  const Clock::time_point start = Clock::now();
  const engine::RequestId id = session_->submit(std::move(request));
  std::optional<engine::Result> result;
  while (!(result = engine_->take_result(id))) {
    if (InterruptScope::pending())
      engine_->cancel(id);
    else
      engine_->run_step();
  }
  const Clock::time_point end = Clock::now();
  if (result->reason == engine::FinishReason::kError) throw_error(ErrorCode::kInternal, "{}", result->error);
  Answer answer{std::move(*result), {}, false, speculation_->is_on()};
  answer.times.prompt_s = seconds(first.value_or(end) - start);
  answer.times.generate_s = seconds(end - first.value_or(end));
  answer.times.steps = answer.result.usage.output_tokens - (answer.result.stop_token < 0 ? 1 : 0);
  answer.context_is_full =
      answer.result.reason == engine::FinishReason::kLength &&
      answer.result.usage.prompt_tokens + answer.result.usage.output_tokens >= max_context();
  return answer;
}

}  // namespace llmhost::cli
