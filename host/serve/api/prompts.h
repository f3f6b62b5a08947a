// Prompts that are not conversations: texts and token ids.
#pragma once

#include <string_view>
#include <vector>

#include "core/json.h"
#include "serve/api/generation.h"

namespace llmhost::serve {

// A string, a list of token ids, or a list of either. Throws ApiError naming `field`.
std::vector<PromptInput> read_prompts(const ServedModel& model, const OrderedJson& value,
                                      std::string_view field);

// Gives prompts that came as tokens their text.
void show_prompts(const ServedModel& model, std::vector<PromptInput>& prompts);

}  // namespace llmhost::serve
