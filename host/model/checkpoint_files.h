// Which files make up the model at a path. Reads the index of shards, but none of the weights. Internal to
// Checkpoint.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "model/checkpoint.h"

namespace llmhost::model {

struct CheckpointFiles {
  CheckpointFormat format = CheckpointFormat::kSafetensors;
  std::filesystem::path folder{};
  std::vector<std::filesystem::path> weights{};     // the first part for GGUF; every shard for safetensors
  std::filesystem::path index_file{};               // empty without an index
  std::map<std::string, std::string> weight_map{};  // tensor -> shard's file name
};

CheckpointFiles find_checkpoint_files(const std::filesystem::path& path);

// The weight_map of an index, whose shard names are plain file names.
std::map<std::string, std::string> parse_weight_map(std::string_view text, std::string_view source);

}  // namespace llmhost::model
