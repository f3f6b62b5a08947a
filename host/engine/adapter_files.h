// The files of an adapter folder: adapter_config.json as it is, the tensors of adapter_model.safetensors
// decoded.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/adapter_folder.h"

namespace llmhost::engine {

struct AdapterFileLimits {
  uint64_t max_bytes = uint64_t{8} << 30;  // of the tensors once decoded, and of the file
};

// A copy in memory: what happens to the files afterwards changes nothing.
struct AdapterFiles {
  struct Tensor {
    std::string name;
    std::vector<int64_t> shape;
    std::vector<float> data;
  };
  std::string config;
  std::vector<Tensor> tensors;
  std::string digest;  // SHA-256 (hex) of adapter_config.json followed by adapter_model.safetensors
};

// Throws an Error that names the file and the tensor, never the folder. [thread-safe]
AdapterFiles read_adapter_files(const AdapterFolder& folder, const AdapterFileLimits& limits = {});
// The same of files in memory.
AdapterFiles parse_adapter_files(std::string config, std::string_view tensors,
                                 const AdapterFileLimits& limits = {});

}  // namespace llmhost::engine
