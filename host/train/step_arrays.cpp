#include "train/step_arrays.h"

#include "core/error.h"

namespace llmhost::train {

void StepArrays::clear() {
  for (std::vector<int32_t>* array : {&token_ids_, &positions_, &rope_lengths_, &token_sequence_,
                                      &output_rows_, &labels_, &sequence_begin_, &state_lengths_})
    array->clear();
  sequence_begin_.push_back(0);
}

void StepArrays::add_sequence(std::span<const int32_t> ids, int64_t vocab_size) {
  const auto length = static_cast<int32_t>(ids.size());
  const auto sequence = static_cast<int32_t>(state_lengths_.size());
  for (int32_t i = 0; i < length; ++i) {
    const int32_t id = ids[static_cast<size_t>(i)];
    if (id < 0 || id >= vocab_size)
      throw_invalid("sequence {}, position {}: token {} is not in the vocabulary of {}", sequence, i, id,
                    vocab_size);
    token_ids_.push_back(id);
    positions_.push_back(i);
    rope_lengths_.push_back(length);
    token_sequence_.push_back(sequence);
  }
  state_lengths_.push_back(length);
  sequence_begin_.push_back(static_cast<int32_t>(token_ids_.size()));
}

void StepArrays::fill(MicroBatch batch, const llmh_limits& limits, int64_t vocab_size) {
  clear();
  uint64_t n_tokens = 0;
  for (const Example* example : batch) n_tokens += example->ids.size();
  if (n_tokens > static_cast<uint64_t>(limits.max_tokens) ||
      batch.size() > static_cast<size_t>(limits.max_sequences))
    throw_invalid("a micro-batch of {} tokens in {} sequences: at most {} in {} are planned for", n_tokens,
                  batch.size(), limits.max_tokens, limits.max_sequences);
  for (const Example* example : batch) {
    if (example->ids.empty()) continue;
    if (example->labels.size() != example->ids.size())
      throw_invalid("a sequence of {} tokens has {} labels", example->ids.size(), example->labels.size());
    const auto begin = static_cast<int32_t>(token_ids_.size());
    add_sequence(example->ids, vocab_size);
    for (size_t i = 0; i + 1 < example->ids.size(); ++i) {
      const int32_t label = example->labels[i + 1];
      if (label == kNoLabel) continue;
      if (label < 0 || label >= vocab_size)
        throw_invalid("sequence {}, position {}: label {} is not in the vocabulary of {}",
                      state_lengths_.size() - 1, i + 1, label, vocab_size);
      output_rows_.push_back(begin + static_cast<int32_t>(i));
      labels_.push_back(label);
    }
  }
}

void StepArrays::fill_all_rows(std::span<const int32_t> ids, int64_t vocab_size) {
  clear();
  add_sequence(ids, vocab_size);
  for (size_t i = 0; i < ids.size(); ++i) output_rows_.push_back(static_cast<int32_t>(i));
  labels_.assign(ids.size(), kNoLabel);
}

llmh_step StepArrays::step(uint64_t dropout_seed) const {
  llmh_step step{};
  step.struct_size = sizeof step;
  step.n_tokens = static_cast<int32_t>(token_ids_.size());
  step.n_sequences = static_cast<int32_t>(state_lengths_.size());
  step.n_outputs = static_cast<int32_t>(output_rows_.size());
  step.n_state = step.n_tokens;
  step.token_ids = token_ids_.data();
  step.positions = positions_.data();
  step.rope_lengths = rope_lengths_.data();
  step.token_sequence = token_sequence_.data();
  step.output_rows = output_rows_.data();
  step.sequence_begin = sequence_begin_.data();
  step.state_lengths = state_lengths_.data();
  step.labels = labels_.data();
  step.dropout_seed = dropout_seed;
  return step;
}

}  // namespace llmhost::train
