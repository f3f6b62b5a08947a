// A micro-batch as a step of the device: its sequences one after another, the rows that have a target as
// output rows. Private to the layer.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "llmhost/backend.h"
#include "train/example.h"

namespace llmhost::train {

class StepArrays {
 public:
  // Throws kInvalidArgument for a batch that is larger than the limits, for labels that are not as many as
  // the ids, and for ids outside [0, vocab_size).
  void fill(MicroBatch batch, const llmh_limits& limits, int64_t vocab_size);
  // One sequence of which every row is an output and none has a target.
  void fill_all_rows(std::span<const int32_t> ids, int64_t vocab_size);

  int64_t n_outputs() const { return static_cast<int64_t>(output_rows_.size()); }
  // Valid until the next fill.
  llmh_step step(uint64_t dropout_seed) const;

 private:
  void clear();
  void add_sequence(std::span<const int32_t> ids, int64_t vocab_size);

  std::vector<int32_t> token_ids_, positions_, rope_lengths_, token_sequence_;  // [T]
  std::vector<int32_t> output_rows_, labels_;                                   // [R]
  std::vector<int32_t> sequence_begin_;                                         // [S+1]
  std::vector<int32_t> state_lengths_;                                          // [S]
};

}  // namespace llmhost::train
