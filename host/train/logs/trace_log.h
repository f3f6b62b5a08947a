// The figures of every step as JSON lines, doubles at full precision: two runs are the same when their traces
// are.
//
//   {"step": 1, "loss": 2.5, "grad_norm": 0.7, "lr": 0.0002, "tokens": 1024, "targets": 800, "seconds": 0.9,
//   …}
//   {"step": 10, "eval_loss": 2.4, "best": true}
#pragma once

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "train/events.h"

namespace llmhost::train {

class TraceLog final : public TrainingListener {
 public:
  // Lines of an earlier run stay up to the step that it goes on from. A file with anything else in it is
  // refused when the run begins, and stays as it is.
  explicit TraceLog(std::filesystem::path path);
  ~TraceLog() override;

  void on_start(int64_t done_steps, int64_t n_steps) override;
  void on_step(const StepEvent& step) override;
  void on_eval(const EvalEvent& eval) override;

 private:
  void write(const std::string& line);

  std::filesystem::path path_;
  std::FILE* file_ = nullptr;
};

struct TracePoint {
  int64_t step = 0;
  double loss = 0;
  bool is_eval = false;
};

// Refuses a file of another kind where a log is to be written. `known` is given its content.
void refuse_other_file(const std::filesystem::path& path, std::string_view key,
                       const std::function<bool(std::string_view)>& known);

// The losses of a trace up to a step; a file that is not there has none, a line that was cut off at the end
// is left out.
std::vector<TracePoint> read_trace(const std::filesystem::path& path, int64_t last_step);

}  // namespace llmhost::train
