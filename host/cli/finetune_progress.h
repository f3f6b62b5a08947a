// How a training run goes, for people: one line redrawn in place on a terminal, else a line every few seconds
// and at each evaluation. On standard error.
#pragma once

#include <chrono>

#include "train/events.h"

namespace llmhost::cli {

class FinetuneProgress final : public train::TrainingListener {
 public:
  FinetuneProgress();
  ~FinetuneProgress() override;

  void on_start(int64_t done_steps, int64_t n_steps) override;
  void on_step(const train::StepEvent& step) override;
  void on_eval(const train::EvalEvent& eval) override;
  void on_checkpoint(int64_t step, std::string_view folder) override;
  void on_message(std::string_view line) override;

 private:
  void line(std::string_view text);
  void clear();

  const bool is_terminal_;
  bool is_drawn_ = false;
  int64_t printed_ = 0;  // the last step that has a line
  std::chrono::steady_clock::time_point last_{};
};

}  // namespace llmhost::cli
