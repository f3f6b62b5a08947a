#include "serve/api/chat_prompt.h"

#include "serve/api/prompts.h"

namespace llmhost::serve {
namespace {

void require_tool_format(const ServedModel& model) {
  const text::ToolFormat* format = model.tool_format();
  if (format == nullptr || !format->has_calls())
    throw bad_field("tools", "the model's chat template has no known form of tool calls",
                    "tools_unsupported");
}

// Cuts the prompt off behind the last message's own text: what the template writes to end a turn must go.
void cut_behind(std::string& prompt, const OrderedJson& last) {
  if (last["role"] != "assistant")
    throw bad_field("continue_final_message", "the last message must be the assistant's");
  std::string content = last["content"].get<std::string>();
  while (!content.empty() && (content.back() == ' ' || content.back() == '\n')) content.pop_back();
  const size_t at = prompt.rfind(content);
  if (content.empty() || at == std::string::npos)
    throw bad_field("continue_final_message", "the template does not show the last message as it stands");
  prompt.resize(at + content.size());
}

}  // namespace

PromptInput chat_prompt(const ServedModel& model, const CheckedBody& checked, const OrderedJson& messages,
                        const ToolsOfRequest& tools) {
  if (!model.card().has_chat_template)
    throw bad_field("model", "the model has no chat template; ask it by /v1/completions", "no_chat_template");
  if (tools.are_used()) require_tool_format(model);
  const bool goes_on = checked.flag("continue_final_message", false);
  if (goes_on && checked.flag("add_generation_prompt", false))
    throw bad_field("continue_final_message", "excludes add_generation_prompt");
  PromptInput prompt;
  prompt.text = model.render_chat(chat_variables(checked, messages, tools, model.tool_format()));
  if (goes_on) cut_behind(prompt.text, messages.back());
  const bool is_chat = checked.find("messages") != nullptr;
  prompt.tokens = encode_prompt(model, prompt.text, true, is_chat ? "messages" : "input");
  return prompt;
}

}  // namespace llmhost::serve
