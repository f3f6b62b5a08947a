// Replies that must be calls (tool_choice "required", or a tool by name): what is put behind the prompt, and
// the JSON schema that the model's own text must follow.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "text/tools/tool_format.h"
#include "text/tools/tool_parser.h"

namespace llmhost::text {

struct ForcedCalls {
  ToolFormat format;    // of the reply: the family's, or plain JSON where its form cannot be ruled
  std::string prefill;  // goes behind the prompt's text; also ToolParserOptions::prefill
  std::string suffix;   // ToolParserOptions::suffix
  std::string schema;   // JSON schema of what the model writes
};

struct ForcedOptions {
  bool several = false;     // more than one call where the form is an array
  bool any_object = false;  // arguments are any object, whatever the tools' schemas say
  std::string prompt_tail;  // as in ToolParserOptions: reasoning that it begins is ended
};

// `tools`: those that may be called, at least one. Throws llmhost::Error where a schema is no JSON object.
ForcedCalls force_calls(const ToolFormat& format, const std::vector<ToolDefinition>& tools,
                        const ForcedOptions& options);

}  // namespace llmhost::text
