// Adapters that are to change both sides of a shared weight (ensure_weight_tying). Throws llmh::Error.
#pragma once

#include <functional>

#include "llmhost/finetune.h"
#include "peft/config.h"
#include "peft/modules.h"

namespace peft {

// Refuses when what the adapter touches is an embedding or a head whose weight the other one shares: here
// only the named side would change.
void refuse_tied(const AdapterConfig& config, const llmh_base_model& model, const ModuleTable& table,
                 const std::function<bool(const Module&)>& touches);

}  // namespace peft
