// The prompts whose answers go into a receipt. Private to the layer.
#pragma once

#include <cstdint>
#include <vector>

#include "train/dataset.h"
#include "train/job.h"

namespace llmhost::train {

// Tokens of the texts that the job names, or what stands before the answers of the first examples.
std::vector<std::vector<int32_t>> golden_prompts(const Job& job, const Dataset& data);

}  // namespace llmhost::train
