#include "engine/step_batch.h"

#include <algorithm>

#include "core/error.h"

namespace llmhost::engine {

StepBatch::StepBatch(const llmh_limits& limits, int32_t max_pages) : limits_(limits), max_pages_(max_pages) {
  const auto tokens = static_cast<size_t>(limits.max_tokens);
  const auto sequences = static_cast<size_t>(limits.max_sequences);
  token_ids_.reserve(tokens);
  positions_.reserve(tokens);
  rope_lengths_.reserve(tokens);
  token_sequence_.reserve(tokens);
  output_rows_.reserve(static_cast<size_t>(limits.max_outputs));
  sequence_begin_.reserve(sequences + 1);
  state_lengths_.reserve(sequences);
  if (limits.max_adapter_rank > 0) {
    segments_.reserve(sequences);
    segment_tokens_.resize(tokens);
    segment_outputs_.resize(static_cast<size_t>(limits.max_outputs));
  }
  sequence_segment_.reserve(sequences);
  page_table_.assign(sequences * static_cast<size_t>(max_pages), 0);
  sequence_begin_.push_back(0);
}

void StepBatch::clear() {
  token_ids_.clear();
  positions_.clear();
  rope_lengths_.clear();
  token_sequence_.clear();
  output_rows_.clear();
  sequence_begin_.resize(1);
  state_lengths_.clear();
  segments_.clear();
  sequence_segment_.clear();
}

// Adapters of a step are few: their number is the sequences' at most.
int32_t StepBatch::segment_of(const llmh_adapter* adapter) {
  if (adapter == nullptr) return kBase;
  if (limits_.max_adapter_rank < 1)
    throw_error(ErrorCode::kInternal, "step: a sequence has an adapter, max_adapter_rank is 0");
  const auto found = std::ranges::find(segments_, adapter, &llmh_adapter_segment::adapter);
  if (found != segments_.end()) return static_cast<int32_t>(found - segments_.begin());
  segments_.push_back({adapter, nullptr, nullptr, 0, 0});
  return static_cast<int32_t>(segments_.size()) - 1;
}

void StepBatch::begin_sequence(int64_t first_position, std::span<const int32_t> pages,
                               const llmh_adapter* adapter) {
  if (n_sequences() == limits_.max_sequences)
    throw_error(ErrorCode::kInternal, "step: more than {} sequences", limits_.max_sequences);
  if (first_position < 0 || first_position >= limits_.max_state ||
      static_cast<int64_t>(pages.size()) > max_pages_)
    throw_error(ErrorCode::kInternal, "step: position {} with {} pages is beyond the state of {} positions",
                first_position, pages.size(), limits_.max_state);
  sequence_segment_.push_back(segment_of(adapter));
  const size_t row = state_lengths_.size() * static_cast<size_t>(max_pages_);
  std::copy(pages.begin(), pages.end(), page_table_.begin() + static_cast<std::ptrdiff_t>(row));
  state_lengths_.push_back(static_cast<int32_t>(first_position));
  sequence_begin_.push_back(n_tokens());
}

int32_t StepBatch::add_token(int32_t token, int64_t prompt_length, bool output) {
  if (n_tokens() == limits_.max_tokens || (output && n_outputs() == limits_.max_outputs))
    throw_error(ErrorCode::kInternal, "step: more than {} tokens or {} output rows", limits_.max_tokens,
                limits_.max_outputs);
  const int32_t position = state_lengths_.back()++;
  if (output) output_rows_.push_back(n_tokens());
  token_ids_.push_back(token);
  positions_.push_back(position);
  rope_lengths_.push_back(static_cast<int32_t>(std::max<int64_t>(prompt_length, int64_t{position} + 1)));
  token_sequence_.push_back(n_sequences() - 1);
  sequence_begin_.back() = n_tokens();
  return output ? n_outputs() - 1 : -1;
}

// Counts each segment's rows, gives it its place, and fills it in the rows' order.
void StepBatch::fill_segments() {
  const auto fill = [&](int32_t n_rows, const auto& token_of, auto rows, auto count, int32_t* place) {
    for (llmh_adapter_segment& segment : segments_) segment.*count = 0;
    const auto segment_of_row = [&](int32_t row) {
      return sequence_segment_[static_cast<size_t>(token_sequence_[static_cast<size_t>(token_of(row))])];
    };
    for (int32_t row = 0; row < n_rows; ++row)
      if (const int32_t s = segment_of_row(row); s != kBase) ++(segments_[static_cast<size_t>(s)].*count);
    for (llmh_adapter_segment& segment : segments_) {
      segment.*rows = place;
      place += segment.*count;
      segment.*count = 0;
    }
    for (int32_t row = 0; row < n_rows; ++row) {
      const int32_t s = segment_of_row(row);
      if (s == kBase) continue;
      llmh_adapter_segment& segment = segments_[static_cast<size_t>(s)];
      const_cast<int32_t*>(segment.*rows)[segment.*count] = row;  // our own memory
      ++(segment.*count);
    }
  };
  fill(
      n_tokens(), [](int32_t row) { return row; }, &llmh_adapter_segment::token_rows,
      &llmh_adapter_segment::n_token_rows, segment_tokens_.data());
  fill(
      n_outputs(), [&](int32_t row) { return output_rows_[static_cast<size_t>(row)]; },
      &llmh_adapter_segment::output_rows, &llmh_adapter_segment::n_output_rows, segment_outputs_.data());
}

llmh_step StepBatch::step() {
  llmh_step step{};
  step.struct_size = sizeof(llmh_step);
  step.n_tokens = n_tokens();
  step.n_sequences = n_sequences();
  step.n_outputs = n_outputs();
  step.page_table_stride = max_pages_;
  for (const int32_t length : state_lengths_) step.n_state += length;
  step.token_ids = token_ids_.data();
  step.positions = positions_.data();
  step.rope_lengths = rope_lengths_.data();
  step.token_sequence = token_sequence_.data();
  step.output_rows = output_rows_.data();
  step.sequence_begin = sequence_begin_.data();
  step.state_lengths = state_lengths_.data();
  step.page_table = page_table_.data();
  if (!segments_.empty()) fill_segments();
  step.adapter_segments = segments_.data();
  step.n_adapter_segments = static_cast<int32_t>(segments_.size());
  return step;
}

}  // namespace llmhost::engine
