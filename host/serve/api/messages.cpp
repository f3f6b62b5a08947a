#include "serve/api/messages.h"

#include <algorithm>
#include <array>

#include "serve/api/api_error.h"
#include "text/tools/tool_messages.h"

namespace llmhost::serve {
namespace {

constexpr std::array<std::string_view, 5> kRoles = {"system", "developer", "user", "assistant", "tool"};
// Of messages that clients send back as they got them; nothing is made of these.
constexpr std::array<std::string_view, 6> kUnread = {"refusal",       "annotations", "audio",
                                                     "function_call", "weight",      "prefix"};

std::string text_of(const OrderedJson& value, const std::string& place) {
  if (!value.is_string()) throw bad_field(place, "must be a string");
  return value.get<std::string>();
}

std::string part_text(const OrderedJson& part, const std::string& place, const UnknownFields& unknown) {
  if (!part.is_object() || !part.contains("type")) throw bad_field(place, "must be an object with a type");
  const std::string type = text_of(part["type"], place + ".type");
  if (type == "refusal" || type == "text" || type == "input_text" || type == "output_text")
    unknown.check(part, place, {"type", "text", "refusal", "annotations", "logprobs"});
  if (type == "refusal") return text_of(part.value("refusal", OrderedJson()), place + ".refusal");
  if (type != "text" && type != "input_text" && type != "output_text")
    throw bad_field(place + ".type", "only text can be read by this server", "unsupported_content");
  return text_of(part.value("text", OrderedJson()), place + ".text");
}

std::string content_text(const OrderedJson& content, const std::string& place, const UnknownFields& unknown) {
  if (content.is_string()) return content.get<std::string>();
  if (!content.is_array()) throw bad_field(place, "must be a string or a list of parts");
  std::string text;
  for (size_t i = 0; i < content.size(); ++i) {
    if (i > 0) text += '\n';
    text += part_text(content[i], fmt::format("{}[{}]", place, i), unknown);
  }
  return text;
}

// With the arguments as JSON text, as clients have them.
OrderedJson checked_call(const OrderedJson& call, const std::string& place, const UnknownFields& unknown) {
  if (!call.is_object() || !call.contains("function") || !call["function"].is_object())
    throw bad_field(place, "must be an object with a function");
  const OrderedJson& function = call["function"];
  unknown.check(call, place, {"id", "type", "function", "index"});
  unknown.check(function, place + ".function", {"name", "arguments"});
  const std::string name = text_of(function.value("name", OrderedJson()), place + ".function.name");
  const OrderedJson arguments = function.value("arguments", OrderedJson("{}"));
  if (!arguments.is_string() && !arguments.is_object())
    throw bad_field(place + ".function.arguments", "must be JSON text of an object");
  const std::string text = arguments.is_string() ? arguments.get<std::string>() : arguments.dump();
  OrderedJson out = {{"type", "function"}, {"function", {{"name", name}, {"arguments", text}}}};
  if (call.contains("id") && call["id"].is_string()) out["id"] = call["id"];
  return out;
}

class MessageReader {
 public:
  explicit MessageReader(const UnknownFields& unknown) : unknown_(unknown) {}

  OrderedJson read(const OrderedJson& message, const std::string& place) {
    if (!message.is_object()) throw bad_field(place, "must be an object with role and content");
    const std::string role = text_of(message.value("role", OrderedJson()), place + ".role");
    if (std::find(kRoles.begin(), kRoles.end(), role) == kRoles.end())
      throw bad_field(place + ".role", "expected system, developer, user, assistant or tool");
    OrderedJson out = {{"role", role == "developer" ? "system" : role}};
    const auto content = message.find("content");
    const bool has_content = content != message.end() && !content->is_null();
    const bool may_lack = role == "assistant" && message.contains("tool_calls");
    if (!has_content && !may_lack) throw bad_field(place + ".content", "is missing");
    out["content"] =
        has_content ? OrderedJson(content_text(*content, place + ".content", unknown_)) : OrderedJson("");
    for (const auto& [name, value] : message.items())
      if (name != "role" && name != "content" && !value.is_null()) field(name, value, place, out);
    return out;
  }

 private:
  void field(const std::string& name, const OrderedJson& value, const std::string& place, OrderedJson& out) {
    const std::string at = place + '.' + name;
    if (name == "name" || name == "tool_call_id") {
      out[name] = text_of(value, at);
    } else if (name == "reasoning_content" || name == "reasoning") {
      out["reasoning_content"] = text_of(value, at);
    } else if (name == "tool_calls") {
      if (!value.is_array()) throw bad_field(at, "must be a list");
      OrderedJson calls = OrderedJson::array();
      for (size_t i = 0; i < value.size(); ++i)
        calls.push_back(checked_call(value[i], fmt::format("{}[{}]", at, i), unknown_));
      if (!calls.empty()) out["tool_calls"] = std::move(calls);
    } else if (std::find(kUnread.begin(), kUnread.end(), name) == kUnread.end()) {
      unknown_.met(place, name);
    }
  }

  const UnknownFields& unknown_;
};

ToolsOfRequest::Choice choice_of(const OrderedJson& value, std::string& named) {
  if (value.is_string()) {
    const auto& text = value.get_ref<const std::string&>();
    return text == "none"   ? ToolsOfRequest::Choice::kNone
           : text == "auto" ? ToolsOfRequest::Choice::kAuto
                            : ToolsOfRequest::Choice::kRequired;
  }
  const OrderedJson& function = value.contains("function") ? value["function"] : value;
  if (value.value("type", OrderedJson()) != "function" || !function.is_object())
    throw bad_field("tool_choice", "expected {\"type\": \"function\", \"function\": {\"name\": …}}");
  named = text_of(function.value("name", OrderedJson()), "tool_choice.function.name");
  return ToolsOfRequest::Choice::kNamed;
}

// Of a checked tool. It is no part of what the template shows.
bool is_strict(const OrderedJson& tool, const std::string& place) {
  const OrderedJson& function = tool.contains("function") ? tool["function"] : tool;
  const OrderedJson strict = function.value("strict", OrderedJson());
  if (!strict.is_null() && !strict.is_boolean())
    throw bad_field(place + ".function.strict", "must be true or false");
  return strict == true;
}

// Variables that the server sets, or that templates' own functions are called: not a request's to change.
constexpr std::array<std::string_view, 22> kReserved = {"messages",
                                                        "tools",
                                                        "documents",
                                                        "add_generation_prompt",
                                                        "continue_final_message",
                                                        "chat_template",
                                                        "now",
                                                        "bos_token",
                                                        "eos_token",
                                                        "pad_token",
                                                        "unk_token",
                                                        "sep_token",
                                                        "cls_token",
                                                        "mask_token",
                                                        "strftime_now",
                                                        "raise_exception",
                                                        "namespace",
                                                        "range",
                                                        "loop",
                                                        "tokenize",
                                                        "return_dict",
                                                        "return_tensors"};

void add_arguments(const OrderedJson& arguments, OrderedJson& variables) {
  for (const auto& [name, value] : arguments.items()) {
    const bool is_name =
        !name.empty() && name.size() <= 64 && std::all_of(name.begin(), name.end(), [](unsigned char c) {
          return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
        });
    if (!is_name) throw bad_field("chat_template_kwargs", "a key is no name of a variable");
    if (name.front() == '_' || std::find(kReserved.begin(), kReserved.end(), name) != kReserved.end())
      throw bad_field("chat_template_kwargs", fmt::format("'{}' is set by the server", name));
    variables[name] = value;
  }
}

}  // namespace

void UnknownFields::met(const std::string& place, const std::string& name) const {
  if (compat == Compat::kStrict) throw unknown_field(place, name);
  ignored.push_back(place + '.' + shown_name(name));
}

void UnknownFields::check(const OrderedJson& object, const std::string& place,
                          std::initializer_list<std::string_view> known) const {
  for (const auto& [name, value] : object.items())
    if (!value.is_null() && std::find(known.begin(), known.end(), name) == known.end()) met(place, name);
}

OrderedJson check_message(const OrderedJson& message, const std::string& place,
                          const UnknownFields& unknown) {
  return MessageReader(unknown).read(message, place);
}

OrderedJson check_messages(const OrderedJson& messages, const UnknownFields& unknown) {
  if (messages.empty()) throw bad_field("messages", "there must be at least one");
  OrderedJson out = OrderedJson::array();
  for (size_t i = 0; i < messages.size(); ++i)
    out.push_back(check_message(messages[i], fmt::format("messages[{}]", i), unknown));
  return out;
}

OrderedJson check_tool(const OrderedJson& tool, const std::string& place, const UnknownFields& unknown) {
  if (!tool.is_object()) throw bad_field(place, "must be an object");
  if (tool.value("type", OrderedJson()) != "function")
    throw bad_field(place + ".type", "only functions are supported", "unsupported_parameter");
  const OrderedJson& function = tool.contains("function") ? tool["function"] : tool;
  if (!function.is_object()) throw bad_field(place + ".function", "must be an object");
  if (tool.contains("function")) {
    unknown.check(tool, place, {"type", "function"});
    unknown.check(function, place + ".function", {"name", "description", "parameters", "strict"});
  } else {
    unknown.check(tool, place, {"type", "name", "description", "parameters", "strict"});
  }
  const std::string name = text_of(function.value("name", OrderedJson()), place + ".function.name");
  if (name.empty() || name.size() > 128)
    throw bad_field(place + ".function.name", "must have 1 to 128 bytes");
  OrderedJson out = {{"name", name}};
  if (const auto d = function.find("description"); d != function.end() && !d->is_null())
    out["description"] = text_of(*d, place + ".function.description");
  if (const auto p = function.find("parameters"); p != function.end() && !p->is_null()) {
    if (!p->is_object()) throw bad_field(place + ".function.parameters", "must be a JSON schema");
    out["parameters"] = *p;
  }
  return {{"type", "function"}, {"function", std::move(out)}};
}

std::vector<text::ToolDefinition> ToolsOfRequest::definitions() const {
  std::vector<text::ToolDefinition> all;
  for (const OrderedJson& tool : tools) {
    const OrderedJson& function = tool["function"];
    all.push_back({function["name"].get<std::string>(),
                   function.contains("parameters") ? function["parameters"].dump() : std::string()});
  }
  return all;
}

ToolsOfRequest check_tools(CheckedBody& checked, Compat compat) {
  const UnknownFields unknown{compat, checked.ignored};
  ToolsOfRequest out;
  if (const OrderedJson* tools = checked.find("tools"))
    for (size_t i = 0; i < tools->size(); ++i) {
      const std::string place = fmt::format("tools[{}]", i);
      out.tools.push_back(check_tool((*tools)[i], place, unknown));
      if (is_strict((*tools)[i], place))
        out.strict.push_back(out.tools.back()["function"]["name"].get<std::string>());
    }
  out.choice = out.tools.empty() ? ToolsOfRequest::Choice::kNone : ToolsOfRequest::Choice::kAuto;
  if (const OrderedJson* choice = checked.find("tool_choice")) {
    out.choice = choice_of(*choice, out.named);
    if (out.tools.empty() && out.choice != ToolsOfRequest::Choice::kNone)
      throw bad_field("tool_choice", "there are no tools to choose from");
  }
  if (out.choice == ToolsOfRequest::Choice::kNamed &&
      std::none_of(out.tools.begin(), out.tools.end(),
                   [&](const OrderedJson& tool) { return tool["function"]["name"] == out.named; }))
    throw bad_field("tool_choice", "no tool has this name");
  out.parallel = checked.flag("parallel_tool_calls", true);
  return out;
}

OrderedJson chat_variables(const CheckedBody& checked, const OrderedJson& messages,
                           const ToolsOfRequest& tools, const text::ToolFormat* format) {
  const text::ToolFormat plain;
  OrderedJson variables = text::tool_variables(format == nullptr ? plain : *format, messages,
                                               tools.are_used() ? tools.tools : OrderedJson());
  if (const OrderedJson* documents = checked.find("documents")) variables["documents"] = *documents;
  const bool goes_on = checked.flag("continue_final_message", false);
  variables["add_generation_prompt"] = checked.flag("add_generation_prompt", !goes_on);
  if (const std::string effort = checked.text("reasoning_effort"); !effort.empty()) {
    variables["reasoning_effort"] = effort;
    if (effort == "none") variables["enable_thinking"] = false;
  }
  if (const OrderedJson* arguments = checked.find("chat_template_kwargs"))
    add_arguments(*arguments, variables);
  return variables;
}

}  // namespace llmhost::serve
