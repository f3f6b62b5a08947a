// Logprobs of a prompt's own tokens, from the logits of its positions.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/request.h"
#include "serve/api/generation.h"

namespace llmhost::serve {

// Fills records[p + 1] from the row of position p; there is one record a token of the prompt.
void add_prompt_logprobs(const engine::PromptLogits& logits, int32_t n_top, std::span<TokenRecord> records);

}  // namespace llmhost::serve
