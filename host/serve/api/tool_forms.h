// How a reply is ruled and taken apart: the answer's form, tools that must be called, the marks of tool calls
// and reasoning.
#pragma once

#include <optional>

#include "serve/api/generation.h"
#include "serve/api/messages.h"
#include "text/grammar/grammar.h"

namespace llmhost::serve {

// Fills the plan's grammar, format and parser; where a call must come, its beginning goes behind the plan's
// one prompt. Throws ApiError for a form that is refused.
void plan_reply(const ServedModel& model, const ToolsOfRequest& tools,
                const std::optional<text::GrammarSpec>& form, GenerationPlan& plan,
                text::GrammarCache& cache);

}  // namespace llmhost::serve
