// Prompts that are not conversations: texts and token ids.
#pragma once

#include <string_view>
#include <vector>

#include "core/json.h"
#include "serve/api/generation.h"

namespace llmhost::serve {

// Bytes of a text beyond which no tokens of it can fit into the model's context.
size_t most_prompt_bytes(const ServedModel& model);

// The tokens of a prompt. Throws what context_overflow gives, before anything is encoded, for a text of more
// than most_prompt_bytes.
std::vector<int32_t> encode_prompt(const ServedModel& model, std::string_view text, bool is_rendered,
                                   std::string_view field);

// A string, a list of token ids, or a list of either. Throws ApiError naming `field`. With `truncate` above 0
// so many tokens of each are kept, the last ones; without it, a prompt longer than the context is an error.
std::vector<PromptInput> read_prompts(const ServedModel& model, const OrderedJson& value,
                                      std::string_view field, int64_t truncate = 0);

// Gives prompts that came as tokens their text.
void show_prompts(const ServedModel& model, std::vector<PromptInput>& prompts);

}  // namespace llmhost::serve
