// adapter_config.json of SHiRA adapters (Bhardwaj et al. 2024, "Sparse high rank adapters"), read strictly,
// and what the adapter's file holds for a module. Throws llmh::Error.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "llmhost/finetune.h"
#include "peft/config.h"

namespace sparse {

bool is_shira(std::string_view config_json);
// Targets, saved modules and rank; the rest of the fields are off.
peft::AdapterConfig parse_shira_config(std::string_view config_json);

// How many entries of a module of this size are changed.
int64_t entry_count(int64_t rank, int64_t in_features, int64_t out_features);

// Row-major indices in [out, in] of what `shira_indices` [2, k] says. `name` is for errors.
std::vector<int32_t> flat_indices(const llmh_adapter_tensor& indices, int64_t in_features,
                                  int64_t out_features);

}  // namespace sparse
