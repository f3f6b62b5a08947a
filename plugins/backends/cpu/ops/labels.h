// Labels of rows, and the loss that a row has of one.
#pragma once

#include <cmath>
#include <string>

#include "ops/op.h"

namespace llmhost::cpu {

constexpr int32_t kNoLabel = -100;

// Of `rows` rows; throws llmh::Error for one that is neither a column nor kNoLabel.
inline const int32_t* checked_labels(const RunContext& context, const Call& call, size_t input, int64_t rows,
                                     int64_t columns) {
  const int32_t* labels = context.ints(call.inputs[input]);
  for (int64_t row = 0; row < rows; ++row)
    if (labels[row] != kNoLabel && (labels[row] < 0 || labels[row] >= columns))
      throw llmh::Error(LLMH_OUT_OF_RANGE, "[cpu] " + std::string(llmh::view(call.node->path)) + ": label " +
                                               std::to_string(labels[row]) + " of row " +
                                               std::to_string(row) + " is outside the " +
                                               std::to_string(columns) + " logits");
  return labels;
}

// -log softmax at a logit, for sum = the sum of exp(logit - largest).
inline float loss_of(float largest, double sum, float logit) {
  return static_cast<float>(static_cast<double>(largest) + std::log(sum) - static_cast<double>(logit));
}

}  // namespace llmhost::cpu
