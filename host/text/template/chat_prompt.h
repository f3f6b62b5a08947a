// Chat templates as transformers applies them: which template of a tokenizer_config.json, with which
// variables.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "core/json.h"
#include "text/template/template.h"

namespace llmhost::text {

// `variables` is an object: messages, tools, documents, add_generation_prompt, special tokens, any others.
// tools and documents are none and add_generation_prompt is false where absent. "now" (ISO time) is not a
// variable but the time that strftime_now shows; without it, the system's. `generation` as in RenderOptions.
// Reasoning of a message (reasoning_content, thinking or reasoning) is there as reasoning_content and
// thinking. Throws jinja::TemplateError.
std::string render_chat(const jinja::Template& chat_template, const OrderedJson& variables,
                        const jinja::Limits& limits = {}, std::vector<jinja::TextSpan>* generation = nullptr);

// The source of a template in the value of "chat_template": a string, or a list of {"name", "template"}.
// Without `name`: "tool_use" when there are tools and such a template, else "default", else the only one.
// Throws llmhost::Error that lists the names there are.
std::string select_chat_template(const OrderedJson& chat_template, std::optional<std::string_view> name,
                                 bool has_tools);

}  // namespace llmhost::text
