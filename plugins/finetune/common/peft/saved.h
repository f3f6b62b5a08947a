// Modules that an adapter replaces whole (modules_to_save). Throws llmh::Error.
#pragma once

#include <vector>

#include "peft/modules.h"
#include "peft/tensors.h"

namespace peft {

// As in llmh_module_delta.
struct SavedTensors {
  const float* weight = nullptr;  // null when it is own_weight
  const float* bias = nullptr;
  std::vector<float> own_weight;  // of a module whose files hold the transpose
};

SavedTensors take_saved(const Module& module, ModuleTensors& tensors);

}  // namespace peft
