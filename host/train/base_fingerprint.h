// Whether a base model is the one it was. Private to the layer.
#pragma once

#include <string>

#include "model/loader.h"

namespace llmhost::train {

// SHA-256 (hex) of the config, of every stored tensor's name, type and shape, and of samples of its bytes.
std::string base_fingerprint(const model::LoadedModel& model);

}  // namespace llmhost::train
