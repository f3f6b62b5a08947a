#include "text/template/chat_prompt.h"

#include <vector>

namespace llmhost::text {

namespace {

// Clients write the reasoning of a message under one of three names, and templates read one of two.
void name_reasoning(OrderedJson& message) {
  if (!message.is_object()) return;
  for (const char* key : {"reasoning_content", "thinking", "reasoning"}) {
    const auto found = message.find(key);
    if (found == message.end() || found->is_null()) continue;
    const OrderedJson reasoning = *found;
    message["reasoning_content"] = reasoning;
    if (!message.contains("thinking")) message["thinking"] = reasoning;
    return;
  }
}

}  // namespace

std::string render_chat(const jinja::Template& chat_template, const OrderedJson& variables,
                        const jinja::Limits& limits, std::vector<jinja::TextSpan>* generation) {
  if (!variables.is_object())
    throw_invalid("{}: the variables of a template are an object", chat_template.name());
  jinja::RenderOptions options;
  options.limits = limits;
  options.generation = generation;
  OrderedJson given = variables;
  if (const auto now = given.find("now"); now != given.end()) {
    if (!now->is_string()) throw_invalid("now: write the time as a string such as 2024-07-26T14:05:09");
    options.clock = jinja::Clock::at(now->get_ref<const std::string&>());
    given.erase(now);
  }
  if (const auto messages = given.find("messages"); messages != given.end() && messages->is_array())
    for (OrderedJson& message : *messages) name_reasoning(message);
  for (const char* name : {"tools", "documents"})
    if (!given.contains(name)) given[name] = nullptr;
  if (!given.contains("add_generation_prompt")) given["add_generation_prompt"] = false;
  return chat_template.render(jinja::to_value(given), options);
}

std::string select_chat_template(const OrderedJson& chat_template, std::optional<std::string_view> name,
                                 bool has_tools) {
  if (chat_template.is_string()) {
    if (name && *name != "default")
      throw_invalid("chat_template: there is only one template, not one named '{}'", *name);
    return chat_template.get<std::string>();
  }
  std::string names;
  const auto find = [&](std::string_view wanted) -> const OrderedJson* {
    for (const auto& entry : chat_template)
      if (entry["name"] == wanted) return &entry["template"];
    return nullptr;
  };
  if (!chat_template.is_array())
    throw_invalid("chat_template: must be a string or a list of named templates");
  for (const auto& entry : chat_template) {
    if (!entry.is_object() || !entry.contains("name") || !entry.contains("template") ||
        !entry["name"].is_string() || !entry["template"].is_string())
      throw_invalid("chat_template: each entry needs the strings name and template");
    names += (names.empty() ? "" : ", ") + entry["name"].get<std::string>();
  }
  const OrderedJson* found = nullptr;
  if (name) {
    found = find(*name);
  } else {
    if (has_tools) found = find("tool_use");
    if (found == nullptr) found = find("default");
    if (found == nullptr && chat_template.size() == 1) found = &chat_template[0]["template"];
  }
  if (found == nullptr)
    throw_invalid("chat_template: there is no template named '{}', there are: {}", name.value_or("default"),
                  names);
  return found->get<std::string>();
}

}  // namespace llmhost::text
