// A conversation with tools in the form that a chat template wants it.
#pragma once

#include "core/json.h"
#include "text/tools/tool_format.h"

namespace llmhost::text {

// `messages` as clients send them (arguments of calls are JSON text); `tools` is an array, empty or null for
// none. Returns the template's variables: "messages", and "tools" where the template reads such a variable.
// Throws llmhost::Error that names the message where arguments are not a JSON object.
OrderedJson tool_variables(const ToolFormat& format, OrderedJson messages, const OrderedJson& tools);

}  // namespace llmhost::text
