// Weights of quantised Hub checkpoints. Such a checkpoint stores a weight in parts (packed integers, scales,
// zero points, …), as config.json's quantization_config says. Here the parts become the one tensor that the
// unquantised checkpoint would have, decoded when it is loaded (CheckpointTensor::decoder). Other tensors
// stay.
//
// What the decoded values are is the formats' definition, in f32; each goes into the smallest element type
// that holds it exactly. See docs/quantisation.md.
#pragma once

#include <deque>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "model/checkpoint.h"

namespace llmhost::model {

struct QuantisedWeights {
  std::vector<CheckpointTensor> tensors;
  std::deque<std::string> names;  // of tensors that are not stored under their name
  std::string config_key;         // where in the config the quantisation stands; empty: nothing is quantised
  std::vector<std::string> unread_keys;  // dotted paths below config_key that nobody understood
};

// `folder` is looked into for the config files of before quantization_config. Throws kUnimplemented for a
// method or format that is not known, by name; kInvalidArgument with file and tensor for parts that do not
// fit together.
QuantisedWeights read_quantised(std::vector<CheckpointTensor> tensors, const nlohmann::json& config,
                                const std::string& config_file, const std::filesystem::path& folder);

}  // namespace llmhost::model
