// The curve of the losses as a picture, written whenever there is something new to see: at evaluations,
// checkpoints and the end.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "train/events.h"
#include "train/logs/trace_log.h"

namespace llmhost::train {

class LossPlot final : public TrainingListener {
 public:
  // `trace` has the points of an earlier part of the run; empty: there is none.
  LossPlot(std::filesystem::path path, std::filesystem::path trace);
  ~LossPlot() override;

  void on_start(int64_t done_steps, int64_t n_steps) override;
  void on_step(const StepEvent& step) override;
  void on_eval(const EvalEvent& eval) override;
  void on_checkpoint(int64_t step, std::string_view folder) override;

 private:
  void write() const;

  std::filesystem::path path_;
  std::filesystem::path trace_;
  std::vector<TracePoint> points_;
};

// An SVG with axes, the loss of every step, its running mean, and the evaluations; readable on light and dark
// pages.
std::string loss_svg(const std::vector<TracePoint>& points);

}  // namespace llmhost::train
