// Conversations and tools as requests have them, checked and turned into the variables that chat templates
// take.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "core/json.h"
#include "serve/api/parameters.h"
#include "text/tools/tool_parser.h"

namespace llmhost::serve {

// What becomes of fields that nobody here knows: refused, or (leniently) left out and noted in `ignored`.
struct UnknownFields {
  Compat compat;
  std::vector<std::string>& ignored;

  // Fields of `object` beside the known ones; one that is null says nothing.
  void check(const OrderedJson& object, const std::string& place,
             std::initializer_list<std::string_view> known) const;
  void met(const std::string& place, const std::string& name) const;
};

// Each message becomes {role, content, …} with a text as content; a developer's message is the system's; the
// arguments of tool calls are JSON text. Throws ApiError naming the place: "messages[2].content". What is not
// known is refused or, leniently, left out and added to `ignored`.
OrderedJson check_messages(const OrderedJson& messages, const UnknownFields& unknown);
OrderedJson check_message(const OrderedJson& message, const std::string& place, const UnknownFields& unknown);

// What a request says of tools.
struct ToolsOfRequest {
  enum class Choice { kNone, kAuto, kRequired, kNamed };

  OrderedJson tools = OrderedJson::array();  // [{"type": "function", "function": {name, …}}]
  Choice choice = Choice::kNone;
  std::string named;  // kNamed
  bool parallel = true;
  std::vector<std::string> strict;  // names of tools whose schema must rule their arguments

  bool are_used() const { return !tools.empty() && choice != Choice::kNone; }
  std::vector<text::ToolDefinition> definitions() const;
};

// Of a chat: tools, tool_choice, parallel_tool_calls.
ToolsOfRequest check_tools(CheckedBody& checked, Compat compat);
// One tool of either form: {"type", "function": {name, …}}, or the fields of the function beside the type.
OrderedJson check_tool(const OrderedJson& tool, const std::string& place, const UnknownFields& unknown);

// The variables of a chat's prompt: messages, tools, documents, add_generation_prompt, what
// chat_template_kwargs adds, reasoning_effort.
OrderedJson chat_variables(const CheckedBody& checked, const OrderedJson& messages,
                           const ToolsOfRequest& tools, const text::ToolFormat* format);

}  // namespace llmhost::serve
