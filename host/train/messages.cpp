#include "train/messages.h"

#include <array>
#include <utility>

#include "core/error.h"
#include "core/names.h"

namespace llmhost::train {
namespace {

constexpr std::string_view kFunctionCall = "function_call";

// The names of roles in the wild, and ours.
constexpr auto kRoles = std::to_array<std::pair<std::string_view, std::string_view>>({
    {"system", "system"},
    {"developer", "system"},
    {"user", "user"},
    {"human", "user"},
    {"assistant", "assistant"},
    {"gpt", "assistant"},
    {"chatgpt", "assistant"},
    {"model", "assistant"},
    {"bot", "assistant"},
    {kFunctionCall, "assistant"},
    {"tool", "tool"},
    {"observation", "tool"},
    {"function_response", "tool"},
});

const OrderedJson* find(const OrderedJson& object, std::string_view key) {
  const auto found = object.find(key);
  return found == object.end() || found->is_null() ? nullptr : &*found;
}

// The one of two names that is there.
const OrderedJson* either(const OrderedJson& message, std::string_view first, std::string_view second) {
  const OrderedJson* value = find(message, first);
  return value != nullptr ? value : find(message, second);
}

std::string text_of(const OrderedJson& value, const std::string& where) {
  if (!value.is_string()) throw_invalid("{}: must be a text, there is {}", where, value.type_name());
  return value.get<std::string>();
}

std::string part_text(const OrderedJson& part, const std::string& where) {
  if (part.is_string()) return part.get<std::string>();
  const OrderedJson* type = part.is_object() ? find(part, "type") : nullptr;
  const OrderedJson* text = part.is_object() ? find(part, "text") : nullptr;
  if (text == nullptr || (type != nullptr && *type != "text"))
    throw_invalid("{}: only parts with a text can be trained on", where);
  return text_of(*text, where + ".text");
}

std::string content_text(const OrderedJson& content, const std::string& where) {
  if (!content.is_array()) return text_of(content, where);
  std::string text;
  for (size_t i = 0; i < content.size(); ++i) {
    if (i > 0) text += '\n';
    text += part_text(content[i], fmt::format("{}[{}]", where, i));
  }
  return text;
}

// With the arguments as JSON text; the fields of the function may stand in the call itself.
OrderedJson checked_call(const OrderedJson& call, const std::string& where) {
  if (!call.is_object()) throw_invalid("{}: must be an object with a name and arguments", where);
  const OrderedJson* inner = find(call, "function");
  const OrderedJson& function = inner != nullptr ? *inner : call;
  if (!function.is_object() || find(function, "name") == nullptr)
    throw_invalid("{}: the call has no name", where);
  const OrderedJson* arguments = find(function, "arguments");
  if (arguments != nullptr && !arguments->is_string() && !arguments->is_object())
    throw_invalid("{}: the arguments must be an object or its JSON text", where);
  const std::string text = arguments == nullptr     ? "{}"
                           : arguments->is_string() ? arguments->get<std::string>()
                                                    : arguments->dump();
  OrderedJson out = {
      {"type", "function"},
      {"function", {{"name", text_of(*find(function, "name"), where + ".name")}, {"arguments", text}}}};
  if (const OrderedJson* id = find(call, "id"); id != nullptr && id->is_string()) out["id"] = *id;
  return out;
}

OrderedJson checked_calls(const OrderedJson& value, const std::string& where) {
  const OrderedJson list = unquoted(value, where);
  OrderedJson calls = OrderedJson::array();
  if (list.is_object()) {
    calls.push_back(checked_call(list, where));
  } else if (list.is_array()) {
    for (size_t i = 0; i < list.size(); ++i)
      calls.push_back(checked_call(list[i], fmt::format("{}[{}]", where, i)));
  } else {
    throw_invalid("{}: must be a list of calls", where);
  }
  return calls;
}

std::string_view role_of(const std::string& name, const std::string& where) {
  for (const auto& [written, role] : kRoles)
    if (written == name) return role;
  throw_invalid("{}: the role is {}, expected system, user (human), assistant (gpt) or tool", where,
                quote_name(name));
}

// "weight": 0 and "train": false say that an answer is only read.
bool says_learn(const OrderedJson& message, const std::string& where) {
  if (const OrderedJson* weight = find(message, "weight")) {
    if (!weight->is_number() || (*weight != 0 && *weight != 1))
      throw_invalid("{}.weight: must be 0 or 1", where);
    return *weight == 1;
  }
  if (const OrderedJson* train = find(message, "train")) {
    if (!train->is_boolean()) throw_invalid("{}.train: must be true or false", where);
    return train->get<bool>();
  }
  return true;
}

void add_one(const OrderedJson& message, const std::string& where, Sample& sample) {
  if (!message.is_object()) throw_invalid("{}: must be an object with role and content", where);
  const OrderedJson* name = either(message, "role", "from");
  if (name == nullptr) throw_invalid("{}: has neither role nor from; it has {}", where, field_names(message));
  const std::string written = text_of(*name, where + ".role");
  const std::string role(role_of(written, where));
  OrderedJson out = {{"role", role}, {"content", ""}};
  const OrderedJson* content = either(message, "content", "value");
  const OrderedJson* calls = find(message, "tool_calls");
  if (written == kFunctionCall) std::swap(content, calls);
  if (content != nullptr) out["content"] = content_text(*content, where + ".content");
  if (calls != nullptr) {
    if (role != "assistant") throw_invalid("{}.tool_calls: only the assistant calls", where);
    if (OrderedJson list = checked_calls(*calls, where + ".tool_calls"); !list.empty())
      out["tool_calls"] = std::move(list);
  }
  if (content == nullptr && !out.contains("tool_calls"))
    throw_invalid("{}: has neither content nor value; it has {}", where, field_names(message));
  for (const char* key : {"name", "tool_call_id"})
    if (const OrderedJson* value = find(message, key)) out[key] = text_of(*value, where + "." + key);
  for (const char* key : {"reasoning_content", "thinking", "reasoning"}) {
    const OrderedJson* reasoning = find(message, key);
    if (reasoning == nullptr) continue;
    out["reasoning_content"] = text_of(*reasoning, where + "." + key);
    break;
  }
  sample.messages.push_back(std::move(out));
  sample.is_learnt.push_back(role == "assistant" && says_learn(message, where));
}

}  // namespace

OrderedJson unquoted(const OrderedJson& value, const std::string& where) {
  if (!value.is_string()) return value;
  const auto& text = value.get_ref<const std::string&>();
  const size_t first = text.find_first_not_of(" \t\r\n");
  if (first == std::string::npos || (text[first] != '[' && text[first] != '{'))
    throw_invalid("{} must be a list, or the JSON text of one; there is the text {}", where,
                  quote_name(text));
  return parse_ordered_json(text, where);
}

OrderedJson read_tools(const OrderedJson& value, const std::string& where) {
  if (value.is_null() || (value.is_string() && value.get_ref<const std::string&>().empty())) return {};
  const OrderedJson list = unquoted(value, where);
  if (!list.is_array()) throw_invalid("{}: must be a list", where);
  OrderedJson tools = OrderedJson::array();
  for (size_t i = 0; i < list.size(); ++i) {
    const OrderedJson& tool = list[i];
    const OrderedJson* function = tool.is_object() ? find(tool, "function") : nullptr;
    const OrderedJson& given = function != nullptr ? *function : tool;
    if (!given.is_object() || find(given, "name") == nullptr)
      throw_invalid("{}[{}]: a tool is an object with a name", where, i);
    OrderedJson kept = {{"name", text_of(given["name"], fmt::format("{}[{}].name", where, i))}};
    for (const char* key : {"description", "parameters"})
      if (const OrderedJson* field = find(given, key)) kept[key] = *field;
    tools.push_back({{"type", "function"}, {"function", std::move(kept)}});
  }
  return tools.empty() ? OrderedJson() : tools;
}

void add_message(std::string_view role, std::string content, bool is_learnt, Sample& sample) {
  sample.messages.push_back({{"role", role}, {"content", std::move(content)}});
  sample.is_learnt.push_back(is_learnt);
}

void add_messages(const OrderedJson& list, const std::string& where, Sample& sample) {
  if (!list.is_array()) throw_invalid("{}: must be a list of messages, there is {}", where, list.type_name());
  for (size_t i = 0; i < list.size(); ++i) add_one(list[i], fmt::format("{}[{}]", where, i), sample);
}

}  // namespace llmhost::train
