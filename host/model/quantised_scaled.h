// Weights that are stored whole, one byte each, with scales of the tensor, of rows or of blocks. Internal to
// quantised*.cpp.
#pragma once

#include <cstdint>
#include <vector>

#include "model/quantised_parts.h"

namespace llmhost::model {

// Which scale belongs to an element: blocks of rows x columns, `across` blocks side by side.
struct ScaleBlocks {
  int64_t rows;
  int64_t columns;
  int64_t across;
  size_t index(int64_t r, int64_t c) const { return static_cast<size_t>(r / rows * across + c / columns); }
};

// `block` is the size of blocks in the config, or empty. Throws when the scale's shape fits neither.
ScaleBlocks scale_blocks(const CheckpointTensor& weight, const CheckpointTensor& scale,
                         const std::vector<int64_t>& block);

QuantisedWeight fp8_weight(const CheckpointTensor& weight, const CheckpointTensor& scale,
                           const std::vector<int64_t>& block);

// Scales for quantised activations and caches, which are not quantised here.
void drop_activation_scales(PartTable& parts);

}  // namespace llmhost::model
