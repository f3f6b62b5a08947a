// Element types by the names that commands take, as far as they are written.
#pragma once

#include <string>
#include <vector>

#include "llmhost/dtype.h"
#include "model/checkpoint.h"

namespace llmhost::model {

// "f32", "bf16", in GGUF files "q8_0" and the like, of any case. Throws UsageError with what there is.
llmh_dtype parse_written_type(const std::string& name, CheckpointFormat format);

// In the order of their sizes, largest first.
std::vector<std::string> written_types(CheckpointFormat format);

}  // namespace llmhost::model
