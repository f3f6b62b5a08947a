// Whether a base model is the one it was.
#pragma once

#include <string>

#include "model/loader.h"

namespace llmhost::model {

// SHA-256 (hex) of the config, of every stored tensor's name, type and shape, and of samples of its bytes.
std::string base_fingerprint(const LoadedModel& model);

}  // namespace llmhost::model
