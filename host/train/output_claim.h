// The output folder of a run, taken for it alone: what is there already is never overwritten, and what cannot
// be written is found before the first step, not after the last.
#pragma once

#include <cstdint>
#include <filesystem>

#include "train/checkpoint.h"
#include "train/job.h"

namespace llmhost::train {

class OutputClaim {
 public:
  // Throws Error when the folder holds what another run made, is the base model's own, is in use by another
  // run, cannot be written or has less room than `bytes`.
  OutputClaim(const Job& job, const CheckpointFolder& checkpoints, bool resume, uint64_t bytes);
  ~OutputClaim();  // folders that stayed empty go
  OutputClaim(const OutputClaim&) = delete;
  OutputClaim& operator=(const OutputClaim&) = delete;

 private:
  void lock();

  std::filesystem::path output_;
  std::filesystem::path folder_;  // of checkpoints, with the lock
  int fd_ = -1;
};

}  // namespace llmhost::train
