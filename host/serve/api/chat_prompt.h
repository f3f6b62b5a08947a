// The prompt of a conversation, exactly as the model reads it.
#pragma once

#include "serve/api/generation.h"
#include "serve/api/messages.h"
#include "serve/api/parameters.h"

namespace llmhost::serve {

// Renders the messages with the model's template and encodes them. Throws for a model without a template, for
// tools that its template cannot show, and what the template itself raises (422).
PromptInput chat_prompt(const ServedModel& model, const CheckedBody& checked, const OrderedJson& messages,
                        const ToolsOfRequest& tools);

}  // namespace llmhost::serve
