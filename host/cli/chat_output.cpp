#include "cli/chat_output.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "core/error.h"

namespace llmhost::cli {
namespace {

double rate(int64_t n, double seconds) {
  return n > 0 && seconds > 0 ? static_cast<double>(n) / seconds : 0;
}

int64_t computed(const engine::Usage& usage) {
  return usage.prompt_tokens - usage.reused_tokens;
}

double milliseconds(double seconds) {
  return static_cast<double>(static_cast<int64_t>(seconds * 1e6)) / 1e3;
}

OrderedJson prompt_json(const Prompt& prompt) {
  return {{"text", prompt.text}, {"ids", prompt.ids}};
}

std::string dump(const OrderedJson& json) {
  return json.dump(-1, ' ', false, OrderedJson::error_handler_t::replace);
}

}  // namespace

bool StandardOutput::write(std::string_view text) {
  if (!is_open_ || text.empty()) return is_open_;
  at_line_start_ = text.back() == '\n';
  if (std::fwrite(text.data(), 1, text.size(), stdout) == text.size() && std::fflush(stdout) == 0)
    return true;
  if (errno != EPIPE)
    throw_error(ErrorCode::kDataLoss, "standard output cannot be written: {}", std::strerror(errno));
  is_open_ = false;
  return false;
}

void StandardOutput::end_line() {
  if (!at_line_start_) write("\n");
}

std::string describe(const AnswerReport& report) {
  const engine::Usage& usage = report.answer.result.usage;
  const AnswerTimes& times = report.answer.times;
  std::string text = fmt::format("prompt {} tokens", usage.prompt_tokens);
  if (usage.reused_tokens > 0) text += fmt::format(" ({} of them new)", computed(usage));
  text += fmt::format(", {:.1f} tok/s; answer {} tokens, {:.1f} tok/s; first token after {:.2f} s",
                      rate(computed(usage), times.prompt_s), usage.output_tokens,
                      rate(times.steps, times.generate_s), report.load_s + times.prompt_s);
  if (report.load_s > 0) text += fmt::format(" ({:.2f} s of it loading)", report.load_s);
  if (report.answer.speculated)
    text += fmt::format("; drafted {}, accepted {}, {} steps", usage.proposed, usage.accepted, usage.steps);
  if (report.answer.context_is_full) text += "; the context is full";
  return text;
}

OrderedJson to_json(const AnswerReport& report, bool with_prompt) {
  const engine::Result& result = report.answer.result;
  const AnswerTimes& times = report.answer.times;
  OrderedJson json{{"text", result.text},
                   {"tokens", result.tokens},
                   {"finish_reason", std::string(engine::to_text(result.reason))},
                   {"usage",
                    {{"prompt_tokens", result.usage.prompt_tokens},
                     {"completion_tokens", result.usage.output_tokens},
                     {"total_tokens", result.usage.prompt_tokens + result.usage.output_tokens}}},
                   {"timings",
                    {{"load_ms", milliseconds(report.load_s)},
                     {"prompt_ms", milliseconds(times.prompt_s)},
                     {"generate_ms", milliseconds(times.generate_s)},
                     {"first_token_ms", milliseconds(report.load_s + times.prompt_s)},
                     {"prompt_tokens_per_s", rate(computed(result.usage), times.prompt_s)},
                     {"generated_tokens_per_s", rate(times.steps, times.generate_s)}}},
                   {"seed", result.seed},
                   {"warnings", report.warnings}};
  if (report.answer.speculated)
    json["speculation"] = {{"drafted", result.usage.proposed},
                           {"accepted", result.usage.accepted},
                           {"steps", result.usage.steps}};
  if (with_prompt) json["prompt"] = prompt_json(report.prompt);
  return json;
}

std::string describe(const Prompt& prompt) {
  return fmt::format("prompt text: {}\nprompt ids: {}\n", dump(prompt.text), dump(prompt.ids));
}

}  // namespace llmhost::cli
