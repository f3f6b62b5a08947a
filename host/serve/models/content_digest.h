// What a model is, as one number: SHA-256 over its configuration, tokenizer and templates as a whole, and
// over its weights: names, shapes and types of all tensors and, of each file, the size and the bytes: all of
// them up to kWholeFile, else samples of them and the time of its last change. So the digest changes when the
// model does; a copy of a large model may have another one.
#pragma once

#include <cstdint>
#include <string>

#include "model/checkpoint.h"

namespace llmhost::serve {

inline constexpr uint64_t kWholeFile = uint64_t{64} << 20;

// Hex. `chat_template` is the text that is used, wherever it comes from.
std::string content_digest(const model::Checkpoint& checkpoint, const std::string& chat_template);

}  // namespace llmhost::serve
