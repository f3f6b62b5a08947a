// How a model samples: each parameter from the settings when the user gave it (command line, environment,
// file), else from the model's generation defaults, else the settings' own default.
#pragma once

#include <string>
#include <vector>

#include "core/config.h"
#include "engine/sampling_params.h"
#include "model/generation_config.h"

namespace llmhost::engine {

struct SamplingEntry {
  std::string name;   // without "sampling."
  std::string value;  // as text
  std::string where;  // "--temperature", "the model", "default"
};

struct Sampling {
  engine::SamplingParams params;
  std::vector<SamplingEntry> entries;  // in the order of the schema
};

// A value of the user's that is out of range throws UsageError; one of the model's is warned of and left out.
Sampling resolve_sampling(const Settings& settings, const model::GenerationConfig& defaults);

}  // namespace llmhost::engine
