// Scalars as TensorBoard reads them: an event file of length-delimited, checksummed protocol buffer messages
// (formats of tensorflow/core/lib/io/record_writer.h and tensorflow/core/util/event.proto). Nothing but the
// file is needed.
#pragma once

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <string>
#include <string_view>

#include "train/events.h"

namespace llmhost::train {

// Tags loss, grad_norm, lr, tokens_per_s, eval/loss.
class TensorBoardFile final : public TrainingListener {
 public:
  // A file of its own for each run that begins, in `folder`; TensorBoard joins them.
  explicit TensorBoardFile(std::filesystem::path folder);
  ~TensorBoardFile() override;

  void on_start(int64_t done_steps, int64_t n_steps) override;
  void on_step(const StepEvent& step) override;
  void on_eval(const EvalEvent& eval) override;

 private:
  void add(int64_t step, std::string_view tag, double value);
  void write_record(const std::string& data);

  std::filesystem::path folder_;
  std::filesystem::path path_;
  std::FILE* file_ = nullptr;
};

// CRC-32C (Castagnoli; RFC 3720, appendix B.4).
uint32_t crc32c(std::string_view bytes);

}  // namespace llmhost::train
