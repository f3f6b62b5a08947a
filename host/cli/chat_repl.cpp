#include "cli/chat_repl.h"

#include <fmt/format.h>

#include <charconv>
#include <cstdio>

#include "cli/chat_interrupt.h"
#include "core/error.h"
#include "core/names.h"

namespace llmhost::cli {
namespace {

constexpr std::string_view kSampling = "sampling.";
constexpr std::string_view kMaxTokens = "max_tokens";

// To the person, never mixed into the answers of a redirected standard output.
void tell(std::string_view text) {
  fmt::print(stderr, "{}\n", text);
}

std::string trimmed(const std::string& text) {
  const size_t begin = text.find_first_not_of(" \t\r\n");
  if (begin == std::string::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t\r\n") - begin + 1);
}

// "name rest of it"
std::pair<std::string, std::string> split_word(const std::string& text) {
  const size_t end = text.find_first_of(" \t\n");
  if (end == std::string::npos) return {text, {}};
  return {text.substr(0, end), trimmed(text.substr(end))};
}

int64_t parse_max_tokens(const std::string& text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < -1)
    throw UsageError(fmt::format("max_tokens is {}, expected -1 (to the end of the context), 0 or more",
                                 quote_name(text)));
  return value;
}

void require_argument(const std::string& argument, const char* usage) {
  if (argument.empty()) throw UsageError(fmt::format("usage: {}", usage));
}

}  // namespace

const std::vector<ChatRepl::Command>& ChatRepl::commands() {
  static const std::vector<Command> all{
      {"/help", "/help", "This list", &ChatRepl::help},
      {"/set", "/set NAME VALUE", "Change a sampling setting or max_tokens", &ChatRepl::set},
      {"/show", "/show [settings|prompt|template|model]", "What is in use", &ChatRepl::show},
      {"/system", "/system TEXT", "Set the system message; without TEXT: take it away",
       &ChatRepl::set_system},
      {"/clear", "/clear", "Forget the conversation, keep the system message", &ChatRepl::clear},
      {"/save", "/save FILE", "Write the messages as JSON", &ChatRepl::save},
      {"/load", "/load FILE", "Go on with the messages of a file", &ChatRepl::load},
      {"/regenerate", "/regenerate", "Answer the last message again", &ChatRepl::regenerate},
      {"/bye", "/bye", "Leave (so does Ctrl-D)", &ChatRepl::leave}};
  return all;
}

ChatRepl::ChatRepl(ChatModel& model, Settings settings, ChatOptions options, LineSource input)
    : model_(model),
      settings_(std::move(settings)),
      options_(std::move(options)),
      input_(std::move(input)),
      sampling_(engine::resolve_sampling(settings_, model.model().checkpoint().generation_config())) {}

int ChatRepl::run() {
  const InterruptScope interrupts(InterruptScope::Mode::kAlways);
  tell("Type a message; /help lists the commands, Ctrl-D leaves.");
  std::string message;
  while (!leaving_) {
    const InputEvent event = read_message(input_, message);
    if (event == InputEvent::kEnd) {
      tell("");
      break;
    }
    if (event == InputEvent::kInterrupt || trimmed(message).empty()) continue;
    try {
      handle(message);
    } catch (const std::exception& e) {
      tell(e.what());
    }
  }
  return 0;
}

void ChatRepl::handle(const std::string& message) {
  if (message.front() == '/')
    run_command(message);
  else
    say(message);
}

void ChatRepl::run_command(const std::string& line) {
  const auto [name, argument] = split_word(line);
  std::vector<std::string> names;
  for (const Command& command : commands()) {
    if (command.name == name) return (this->*command.action)(argument);
    names.emplace_back(command.name);
  }
  std::string hint = did_you_mean(name, names);
  if (hint.empty()) hint = "; /help lists them";
  throw UsageError(fmt::format("unknown command {}{}", quote_name(name), hint));
}

std::vector<Message> ChatRepl::conversation() const {
  std::vector<Message> all;
  if (!options_.system.empty()) all.push_back({"system", options_.system});
  all.insert(all.end(), messages_.begin(), messages_.end());
  return all;
}

void ChatRepl::say(const std::string& text) {
  messages_.push_back({"user", text});
  try {
    answer();
  } catch (...) {
    messages_.pop_back();  // the conversation stays as it was
    throw;
  }
}

// Answers the last message. An answer that was stopped before its first word leaves the conversation as it
// was before that message.
void ChatRepl::answer() {
  const Prompt prompt = model_.prompts().make(conversation());
  if (options_.show_prompt) fmt::print(stderr, "{}", describe(prompt));
  InterruptScope::reset();
  const auto show = [&](std::string_view piece) { return output_.write(piece); };
  const Answer answer = model_.answer(prompt, sampling_.params, options_.limits, show);
  const bool stopped = answer.result.reason == engine::FinishReason::kCancelled;
  output_.end_line();
  if (stopped && answer.result.text.empty()) {
    tell("(stopped before anything was said; the message is taken back)");
    messages_.pop_back();
    return;
  }
  messages_.push_back({"assistant", answer.result.text});
  if (stopped) tell("(stopped)");
  tell(fmt::format("[{}]", describe(AnswerReport{prompt, answer, 0})));
}

void ChatRepl::help(const std::string&) {
  for (const Command& command : commands()) tell(fmt::format("{:<40} {}", command.usage, command.doc));
  tell("A line that ends with \\ goes on in the next; \"\"\" begins and ends a block of lines.");
  tell("Ctrl-C stops an answer, or drops what is typed.");
}

void ChatRepl::set(const std::string& argument) {
  auto [name, value] = split_word(argument);
  if (name.empty()) return show_settings();
  if (name.starts_with(kSampling)) name.erase(0, kSampling.size());
  std::vector<std::string> names = settings_.schema().names_in("sampling");
  names.emplace_back(kMaxTokens);
  if (std::find(names.begin(), names.end(), name) == names.end())
    throw UsageError(fmt::format("unknown setting {}{}", quote_name(name), did_you_mean(name, names)));
  require_argument(value, "/set NAME VALUE");
  if (name == kMaxTokens) {
    options_.limits.max_tokens = parse_max_tokens(value);
    return;
  }
  Settings changed = settings_;
  changed.set(std::string(kSampling) + name, value, "/set " + name);
  sampling_ = engine::resolve_sampling(changed, model_.model().checkpoint().generation_config());
  settings_ = std::move(changed);
}

void ChatRepl::show(const std::string& what) {
  const std::vector<std::string> known{"settings", "prompt", "template", "model"};
  if (what.empty() || what == "settings") return show_settings();
  if (what == "prompt") return show_prompt();
  if (what == "model") return show_model();
  if (what != "template")
    throw UsageError(fmt::format("unknown thing to show {}{}", quote_name(what), did_you_mean(what, known)));
  const std::string& text = model_.prompts().template_text();
  tell(text.empty() ? "the model has no chat template, or --raw set it aside" : text);
}

void ChatRepl::show_settings() {
  for (const engine::SamplingEntry& entry : sampling_.entries)
    tell(fmt::format("{:<20} {:<12} ({})", entry.name, entry.value, entry.where));
  tell(fmt::format("{:<20} {}", kMaxTokens, options_.limits.max_tokens));
  tell(fmt::format("{:<20} {}", "context", model_.max_context()));
}

void ChatRepl::show_prompt() {
  if (messages_.empty()) throw UsageError("nothing was said yet");
  std::vector<Message> all = conversation();
  if (all.back().role == "assistant") all.pop_back();  // the prompt that this answer followed
  const Prompt prompt = model_.prompts().make(all);
  fmt::print(stderr, "{}", describe(prompt));
}

void ChatRepl::show_model() {
  const model::LoadedModel& loaded = model_.model();
  const llmh_model_info& info = loaded.info();
  tell(fmt::format("{}\n{}, {} layers, width {}, vocabulary {}", loaded.checkpoint().path().string(),
                   loaded.arch_id(), info.n_layers, info.hidden_size, info.vocab_size));
  tell(fmt::format("context {} of the {} tokens that the model can attend to", model_.max_context(),
                   info.context_length));
  tell(fmt::format("on {}, {} threads", model_.opened().device().name(), model_.opened().n_threads()));
}

void ChatRepl::set_system(const std::string& text) {
  options_.system = text;
}

void ChatRepl::clear(const std::string&) {
  messages_.clear();
  model_.clear();
}

void ChatRepl::save(const std::string& file) {
  require_argument(file, "/save FILE");
  save_messages(file, conversation());
  tell(fmt::format("{} messages in {}", conversation().size(), file));
}

void ChatRepl::load(const std::string& file) {
  require_argument(file, "/load FILE");
  std::vector<Message> messages = load_messages(file);
  std::string system;
  if (!messages.empty() && messages.front().role == "system") {
    system = std::move(messages.front().content);
    messages.erase(messages.begin());
  }
  options_.system = std::move(system);
  messages_ = std::move(messages);
  tell(fmt::format("{} messages from {}", conversation().size(), file));
}

void ChatRepl::regenerate(const std::string&) {
  std::vector<Message> before = messages_;
  if (!messages_.empty() && messages_.back().role == "assistant") messages_.pop_back();
  if (messages_.empty()) {
    messages_ = std::move(before);
    throw UsageError("there is no message to answer");
  }
  const size_t n_asked = messages_.size();
  try {
    answer();
  } catch (...) {
    messages_ = std::move(before);
    throw;
  }
  if (messages_.size() < n_asked) messages_ = std::move(before);  // stopped before its first word
}

void ChatRepl::leave(const std::string&) {
  leaving_ = true;
}

}  // namespace llmhost::cli
