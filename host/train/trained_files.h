// Trained tensors in safetensors files, by file name. Private to the layer.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

#include "model/name_map.h"
#include "train/training_stack.h"

namespace llmhost::train {

// Fills the values from an adapter folder or a safetensors file. Throws Error naming file and tensor for one
// that is missing, of another shape, not finite, or not among them.
void read_values(const std::filesystem::path& path, std::span<const TrainedValue> trained);

// Whether files have the matrix with rows and columns changed.
bool is_stored_transposed(const model::HubTensor& weight);

// Shape and values (its own or gradients) of what is trained as an adapter's file has them.
std::vector<int64_t> file_shape(const TrainedValue& value);
std::vector<float> in_file_order(const TrainedValue& value, std::span<const float> values);

}  // namespace llmhost::train
