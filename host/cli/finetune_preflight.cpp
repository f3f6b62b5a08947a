#include "cli/finetune_preflight.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/progress.h"

namespace llmhost::cli {
namespace {

constexpr size_t kShownRows = 3;
constexpr size_t kMostTokens = 400;  // of a row that is shown
constexpr const char* kTrained = "\033[30;42m";
constexpr const char* kPlain = "\033[0m";

void row(const char* name, const std::string& value) {
  fmt::print(stderr, "  {:<14} {}\n", name, value);
}

std::string share(int64_t part, int64_t whole) {
  return fmt::format("{:.3g} %",
                     whole > 0 ? 100.0 * static_cast<double>(part) / static_cast<double>(whole) : 0.0);
}

std::string about(const train::Dataset& data) {
  const int64_t n_tokens = data.n_tokens();
  std::string text = fmt::format("{} examples of the form {}, {} tokens, {} of them trained on ({})",
                                 data.examples.size(), train::format_name(data.format), n_tokens,
                                 data.n_targets(), share(data.n_targets(), n_tokens));
  if (data.n_truncated > 0) text += fmt::format("; {} cut off", data.n_truncated);
  return text;
}

// Nothing is left out in silence.
void print_left_out(const train::Dataset& data) {
  const int64_t n = data.n_skipped + data.n_without_targets + data.n_bad;
  if (n == 0) return;
  row("left out",
      fmt::format("{} of {} rows: {} too long, {} with nothing to learn, {} that the template does not show",
                  n, data.n_rows, data.n_skipped, data.n_without_targets, data.n_bad));
  for (const std::string& note : data.notes) row("", note);
}

void print_memory(const train::TrainingMemory& memory, uint64_t free) {
  const uint64_t total = memory.total();
  row("memory",
      fmt::format("{}: weights {}, parameters {}, gradients {}, optimiser {}, activations {}, scratch {}, "
                  "output {}, process {}",
                  format_bytes(total), format_bytes(memory.weights), format_bytes(memory.parameters),
                  format_bytes(memory.gradients), format_bytes(memory.optimizer),
                  format_bytes(memory.activations), format_bytes(memory.scratch), format_bytes(memory.output),
                  format_bytes(memory.process)));
  if (free > 0) row("free", format_bytes(free));
}

void print_rows(const train::Dataset& data, const text::Tokenizer& tokenizer) {
  const bool in_colour = isatty(STDERR_FILENO) != 0;
  fmt::print(stderr, "first rows, trained tokens {}:\n",
             in_colour ? fmt::format("{}so{}", kTrained, kPlain) : "[[so]]");
  for (size_t i = 0; i < std::min(kShownRows, data.examples.size()); ++i)
    fmt::print(stderr, "--- {}\n{}\n", i + 1, masked_text(data.examples[i], tokenizer, in_colour));
  fmt::print(stderr, "---\n");
}

// Runs of tokens that are trained on or not, decoded as a whole: characters may span tokens.
std::string text_of(std::span<const int32_t> ids, std::span<const int32_t> labels,
                    const text::Tokenizer& tokenizer, bool in_colour) {
  std::string out;
  for (size_t begin = 0; begin < ids.size();) {
    const bool is_trained = labels[begin] != train::kNoLabel;
    size_t end = begin;
    while (end < ids.size() && (labels[end] != train::kNoLabel) == is_trained) ++end;
    const std::string piece = tokenizer.decode(ids.subspan(begin, end - begin));
    if (!is_trained)
      out += piece;
    else
      out += in_colour ? kTrained + piece + kPlain : "[[" + piece + "]]";
    begin = end;
  }
  return out;
}

}  // namespace

std::string masked_text(const train::Example& example, const text::Tokenizer& tokenizer, bool in_colour) {
  // The label at position 0 is no target.
  std::vector<int32_t> labels = example.labels;
  if (!labels.empty()) labels.front() = train::kNoLabel;
  const std::span<const int32_t> ids = example.ids;
  const std::span<const int32_t> marks = labels;
  if (ids.size() <= kMostTokens) return text_of(ids, marks, tokenizer, in_colour);
  const size_t half = kMostTokens / 2;
  return text_of(ids.first(half), marks.first(half), tokenizer, in_colour) +
         fmt::format("\n… {} tokens …\n", ids.size() - kMostTokens) +
         text_of(ids.last(half), marks.last(half), tokenizer, in_colour);
}

void print_preflight(const train::Job& job, const train::Trainer::Summary& summary,
                     const text::Tokenizer* tokenizer) {
  fmt::print(stderr, "llmhost finetune\n");
  row("model", job.model.string());
  row("method", fmt::format("{}, {} of {} values trained ({})", job.method, summary.n_trained, summary.n_base,
                            share(summary.n_trained, summary.n_base)));
  row("data", about(*summary.train));
  print_left_out(*summary.train);
  if (summary.eval != nullptr) row("evaluation", about(*summary.eval));
  row("steps", std::to_string(summary.n_steps));
  print_memory(summary.memory, summary.memory_free);
  row("output", job.output.string());
  for (const std::string& warning : summary.warnings) row("warning", warning);
  if (tokenizer != nullptr) print_rows(*summary.train, *tokenizer);
  if (summary.train->n_targets() == 0)
    throw_error(ErrorCode::kFailedPrecondition,
                "{}: no token is trained on (0 %): answers are cut off by data.max_length, or nothing is an "
                "answer; see data.loss_on",
                job.train_data.string());
}

}  // namespace llmhost::cli
