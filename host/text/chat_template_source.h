// Where a model's chat template comes from: chat_template.jinja, tokenizer_config.json, or GGUF metadata.
#pragma once

#include <optional>
#include <string>

#include "core/json.h"
#include "model/checkpoint.h"

namespace llmhost::text {

struct ChatTemplateSource {
  std::string text;
  std::string name;  // for errors: the file, and the template's name where it has one
};

// `wanted` picks among named templates ("tool_use", "rag"); empty: the default. nullopt when the model has
// none.
std::optional<ChatTemplateSource> find_chat_template(const model::Checkpoint& checkpoint,
                                                     std::string_view wanted = {});

// bos_token, eos_token and the other special tokens as text, for the template's variables.
OrderedJson special_token_variables(const model::Checkpoint& checkpoint);

}  // namespace llmhost::text
