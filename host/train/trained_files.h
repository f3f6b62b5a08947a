// Trained tensors in safetensors files, by file name. Private to the layer.
#pragma once

#include <filesystem>
#include <span>

#include "train/training_stack.h"

namespace llmhost::train {

// Fills the values from an adapter folder or a safetensors file. Throws Error naming file and tensor for one
// that is missing, of another shape, not finite, or not among them.
void read_values(const std::filesystem::path& path, std::span<const TrainedValue> trained);

}  // namespace llmhost::train
