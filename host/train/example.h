// What is trained on: token sequences with labels. A micro-batch is a list of them; they never see each
// other, so packing is only a matter of how many go into one step.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace llmhost::train {

inline constexpr int32_t kNoLabel = -100;

// `labels` is as long as `ids`: labels[i] == ids[i] where the token is trained on, kNoLabel elsewhere.
// Position i predicts label i + 1; the label at position 0 is never a target.
struct Example {
  std::vector<int32_t> ids;
  std::vector<int32_t> labels;

  int64_t n_targets() const {
    int64_t n = 0;
    for (size_t i = 1; i < labels.size(); ++i) n += labels[i] != kNoLabel ? 1 : 0;
    return n;
  }
};

using MicroBatch = std::span<const Example* const>;

}  // namespace llmhost::train
