// The tokens of one step as the backend wants them: ragged sequences, one after another. The vectors get
// their room once and are refilled every step, so that a step allocates nothing.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "llmhost/backend.h"

namespace llmhost::engine {

class StepBatch {
 public:
  // `max_pages` is the most pages of one sequence, the stride of the page table.
  StepBatch(const llmh_limits& limits, int32_t max_pages);

  void clear();

  // Begins a sequence whose next token stands at `first_position`. `pages` holds at least all positions it
  // will get. `adapter` changes its tokens and output rows; null: the base model's.
  void begin_sequence(int64_t first_position, std::span<const int32_t> pages,
                      const llmh_adapter* adapter = nullptr);
  // The next token of the sequence begun last. `prompt_length` is the prompt's length when the request was
  // made, so that length-dependent rotary scalings do not see how the prompt was cut into chunks. With
  // `output` the token's logits are asked for; returns their row, else -1.
  int32_t add_token(int32_t token, int64_t prompt_length, bool output);

  int32_t n_tokens() const { return static_cast<int32_t>(token_ids_.size()); }
  int32_t n_sequences() const { return static_cast<int32_t>(state_lengths_.size()); }
  int32_t n_outputs() const { return static_cast<int32_t>(output_rows_.size()); }

  // The step that these tokens make; valid until the batch changes.
  llmh_step step();

 private:
  static constexpr int32_t kBase = -1;

  int32_t segment_of(const llmh_adapter* adapter);
  void fill_segments();

  llmh_limits limits_;
  int32_t max_pages_;
  std::vector<int32_t> token_ids_;       // [T]
  std::vector<int32_t> positions_;       // [T]
  std::vector<int32_t> rope_lengths_;    // [T]
  std::vector<int32_t> token_sequence_;  // [T]
  std::vector<int32_t> output_rows_;     // [R]
  std::vector<int32_t> sequence_begin_;  // [S+1]
  std::vector<int32_t> state_lengths_;   // [S]
  std::vector<int32_t> page_table_;      // [S, max_pages]
  // Rows grouped by adapter: each has one segment.
  std::vector<llmh_adapter_segment> segments_;
  std::vector<int32_t> sequence_segment_;  // [S] index in segments_, or kBase
  std::vector<int32_t> segment_tokens_;    // at most [T], segment after segment
  std::vector<int32_t> segment_outputs_;   // at most [R]
};

}  // namespace llmhost::engine
