#include "cli/finetune_progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <string>

#include "core/progress.h"

namespace llmhost::cli {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kRedraw{100};
constexpr std::chrono::seconds kBetweenLines{10};

std::string describe(const train::StepEvent& step) {
  return fmt::format("step {}/{}  loss {:.4f}  norm {:.3g}  lr {:.3g}  {:.0f} tokens/s  {}  {} left",
                     step.step, step.n_steps, step.loss, step.grad_norm, step.lr, step.tokens_per_s,
                     format_bytes(step.memory_bytes), format_duration(step.eta_s));
}

}  // namespace

FinetuneProgress::FinetuneProgress() : is_terminal_(isatty(STDERR_FILENO) != 0) {}

FinetuneProgress::~FinetuneProgress() {
  if (is_drawn_) fmt::print(stderr, "\n");
}

void FinetuneProgress::clear() {
  if (is_drawn_) fmt::print(stderr, "\r\033[K");
  is_drawn_ = false;
}

void FinetuneProgress::line(std::string_view text) {
  clear();
  fmt::print(stderr, "{}\n", text);
  std::fflush(stderr);
}

void FinetuneProgress::on_start(int64_t done_steps, int64_t n_steps) {
  if (done_steps > 0) line(fmt::format("going on after step {} of {}", done_steps, n_steps));
}

void FinetuneProgress::on_step(const train::StepEvent& step) {
  const Clock::time_point now = Clock::now();
  const bool is_edge = step.step == step.n_steps || printed_ == 0;
  const bool is_due =
      is_edge || now - last_ >= (is_terminal_ ? Clock::duration(kRedraw) : Clock::duration(kBetweenLines));
  if (!is_due) return;
  last_ = now;
  printed_ = step.step;
  if (!is_terminal_) return line(describe(step));
  clear();
  fmt::print(stderr, "{}", describe(step));
  std::fflush(stderr);
  is_drawn_ = true;
}

void FinetuneProgress::on_eval(const train::EvalEvent& eval) {
  line(fmt::format("evaluation after step {}: loss {:.5f}{}", eval.step, eval.loss,
                   eval.is_best ? ", the best so far" : ""));
}

void FinetuneProgress::on_checkpoint(int64_t step, std::string_view folder) {
  line(fmt::format("checkpoint after step {}: {}", step, folder));
}

void FinetuneProgress::on_message(std::string_view text) {
  line(text);
}

}  // namespace llmhost::cli
