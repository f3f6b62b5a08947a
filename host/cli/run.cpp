// llmhost run: one answer to a prompt (given, or piped in), or a conversation on a terminal.
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <iostream>
#include <iterator>

#include "cli/chat_interrupt.h"
#include "cli/chat_model.h"
#include "cli/chat_output.h"
#include "cli/chat_repl.h"
#include "cli/command.h"
#include "cli/speculation.h"
#include "core/error.h"
#include "core/paths.h"

namespace llmhost::cli {
namespace {

constexpr int kInterruptedExit = 130;

class RunCommand final : public Command {
 public:
  std::string name() const override { return "run"; }
  std::string summary() const override { return "Answer a prompt, or chat"; }

  void declare(Options& options) override {
    options.positional("MODEL", model_, "Model folder, safetensors or GGUF file");
    options.positional_list("PROMPT", prompt_,
                            "What to say; without it: standard input, or a chat on a terminal");
    options.value("--system", chat_.system, "System message");
    options.flag("--raw", raw_, "Complete the prompt as it stands, without the chat template");
    options.value("-n,--max-tokens", chat_.limits.max_tokens,
                  "Most tokens of an answer; -1: to the end of the context");
    options.flag("--show-prompt", chat_.show_prompt, "Show the text and the ids that the model reads");
    options.list("--stop", chat_.limits.stop_strings, "Text that ends the answer (repeatable)");
    options.setting("--context", "engine.context");
    options.setting("--chat-template", "model.chat_template");
    declare_sampling(options);
    declare_speculation_options(options);
    options.setting("--adapter", "model.adapter");
    options.setting("--receipt", "model.receipt");
    declare_model_options(options);
  }

  int run(Context& context) override {
    start_ = std::chrono::steady_clock::now();
    check();
    const bool is_chat = prompt_.empty() && isatty(STDIN_FILENO) != 0;
    if (is_chat && context.json) throw UsageError("run: --json needs a prompt");
    speculation_options(context.settings);
    engine::resolve_sampling(context.settings, {});  // a value out of range is told before anything is loaded
    return is_chat ? chat(context) : answer_once(context, is_chat ? std::string() : read_prompt());
  }

 private:
  static void declare_sampling(Options& options) {
    options.setting("--temperature", "sampling.temperature");
    options.setting("--top-k", "sampling.top_k");
    options.setting("--top-p", "sampling.top_p");
    options.setting("--min-p", "sampling.min_p");
    options.setting("--repetition-penalty", "sampling.repetition_penalty");
    options.setting("--presence-penalty", "sampling.presence_penalty");
    options.setting("--frequency-penalty", "sampling.frequency_penalty");
    options.setting("--seed", "sampling.seed");
  }

  void check() const {
    if (prompt_.size() > 1) throw UsageError("run: more than one PROMPT; put it in quotes");
    if (chat_.limits.max_tokens < engine::Request::kToEndOfContext)
      throw UsageError(
          fmt::format("run: --max-tokens is {}, it must be -1 (to the end of the context), 0 or more",
                      chat_.limits.max_tokens));
    for (const std::string& stop : chat_.limits.stop_strings)
      if (stop.empty()) throw UsageError("run: --stop must not be empty");
    if (raw_ && !chat_.system.empty())
      throw UsageError("run: --system needs the chat template, --raw leaves it out");
  }

  // The whole of standard input but for the line end that a shell's echo adds.
  std::string read_prompt() const {
    std::string text =
        prompt_.empty() ? std::string(std::istreambuf_iterator<char>(std::cin), {}) : prompt_.front();
    if (prompt_.empty() && text.ends_with('\n')) text.pop_back();
    if (text.empty()) throw UsageError("run: the prompt is empty");
    return text;
  }

  PromptMaker::Form form() const { return raw_ ? PromptMaker::Form::kCompletion : PromptMaker::Form::kChat; }

  int answer_once(const Context& context, const std::string& text) {
    ChatModel model(model_, context.settings, form());
    const engine::Sampling sampling =
        engine::resolve_sampling(context.settings, model.model().checkpoint().generation_config());
    std::vector<Message> messages;
    if (!chat_.system.empty()) messages.push_back({"system", chat_.system});
    messages.push_back({"user", text});
    const Prompt prompt = model.prompts().make(messages);
    if (chat_.show_prompt && !context.json) fmt::print(stderr, "{}", describe(prompt));
    const double load_s = std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();

    StandardOutput output;
    const InterruptScope interrupts(InterruptScope::Mode::kOnce);
    const auto show = [&](std::string_view piece) { return context.json || output.write(piece); };
    const Answer answer = model.answer(prompt, sampling.params, chat_.limits, show);
    const AnswerReport report{prompt, answer, load_s, model.model().warnings()};
    if (context.json)
      output.write(
          to_json(report, chat_.show_prompt).dump(2, ' ', false, OrderedJson::error_handler_t::replace));
    output.end_line();
    if (!context.json) fmt::print(stderr, "{}\n", describe(report));
    return answer.result.reason == engine::FinishReason::kCancelled ? kInterruptedExit : 0;
  }

  int chat(const Context& context) {
    ChatModel model(model_, context.settings, form());
    Console console(data_dir() / "chat_history");
    const auto input = [&](const char* prompt, std::string& line) { return console.read_line(prompt, line); };
    return ChatRepl(model, context.settings, chat_, input).run();
  }

  std::string model_;
  std::vector<std::string> prompt_;
  ChatOptions chat_;
  bool raw_ = false;
  std::chrono::steady_clock::time_point start_;
};

}  // namespace

std::unique_ptr<Command> make_run_command() {
  return std::make_unique<RunCommand>();
}

}  // namespace llmhost::cli
