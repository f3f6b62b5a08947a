// Rotary scaling of a Hub config in the metadata and tensors of GGUF files. Internal to gguf_metadata.
#pragma once

#include "model/gguf_config_path.h"
#include "model/gguf_metadata.h"

namespace llmhost::model {

// Scaling that grows with the length, which GGUF files do not have.
bool is_dynamic_rope(const ConfigPath& config);

// Throws kUnimplemented for a kind of scaling that they do not have, naming it.
void add_rope_scaling(const ConfigPath& config, const llmh_model_info& info, GgufMetadata& out);

}  // namespace llmhost::model
