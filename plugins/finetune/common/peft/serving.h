// An adapter folder of PEFT's format as what it does to each module of a model: the reader that methods of
// this format share. Throws llmh::Error with the field or tensor, its value or shape and what was expected.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "llmhost/finetune.h"
#include "llmhost/plugin.hpp"

namespace peft {

// A linear with a low-rank branch and magnitudes, as a method with magnitudes sees it.
struct MagnitudeBranch {
  int64_t in_features = 0;   // K
  int64_t out_features = 0;  // N
  int64_t rank = 0;
  float scale = 0;
  const float* a = nullptr;           // [r,K]
  const float* b = nullptr;           // [N,r]
  const float* magnitudes = nullptr;  // [N]
  std::span<const float> weight;      // [N,K] of the base
};

// The factors [N] by which the rows of such a linear are multiplied.
using RowScale = std::function<std::vector<float>(const MagnitudeBranch&)>;

// Reads the adapter and gives its deltas to the sink. Without `row_scale` an adapter with magnitudes is
// refused.
void read_adapter(const llmh_adapter_source& source, const llmh_base_model& model, llmh_delta_sink& sink,
                  const RowScale& row_scale);

}  // namespace peft
