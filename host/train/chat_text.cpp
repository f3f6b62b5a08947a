#include "train/chat_text.h"

#include "core/error.h"
#include "text/template/chat_prompt.h"
#include "text/tools/tool_messages.h"
#include "train/answer_finder.h"

namespace llmhost::train {
namespace {

bool has_tools(const OrderedJson& tools) {
  return tools.is_array() && !tools.empty();
}

}  // namespace

ChatWriter::ChatWriter(const Templates& templates, TurnEnds ends, std::string date)
    : format_(text::find_tool_format(templates.tool_text.empty() ? templates.text : templates.tool_text)),
      template_(text::jinja::Template::parse(templates.text, templates.name)),
      special_tokens_(templates.special_tokens),
      ends_(std::move(ends)),
      date_(std::move(date)) {
  if (!templates.tool_text.empty() && templates.tool_text != templates.text)
    tool_template_ = text::jinja::Template::parse(templates.tool_text, templates.name + " (tool_use)");
}

ChatWriter::~ChatWriter() = default;

std::string ChatWriter::render(const OrderedJson& messages, const OrderedJson& tools, bool add_prompt,
                               std::vector<TextSpan>* marks) const {
  OrderedJson variables = special_tokens_;
  const OrderedJson shown = text::tool_variables(format_, messages, tools);
  for (const auto& [name, value] : shown.items()) variables[name] = value;
  variables["add_generation_prompt"] = add_prompt;
  if (!date_.empty()) variables["now"] = date_;
  return text::render_chat(has_tools(tools) && tool_template_ ? *tool_template_ : template_, variables, {},
                           marks);
}

std::string ChatWriter::prompt(const OrderedJson& messages, const OrderedJson& tools) const {
  return render(messages, tools, true, nullptr);
}

ChatText ChatWriter::write(const Sample& sample) const {
  const AnswerFinder::Render rendered = [&](const OrderedJson& messages, bool add_prompt,
                                            std::vector<TextSpan>* marks) {
    return render(messages, sample.tools, add_prompt, marks);
  };
  return AnswerFinder(sample, rendered, ends_, format_.reasoning_close).find();
}

}  // namespace llmhost::train
