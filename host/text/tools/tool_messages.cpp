#include "text/tools/tool_messages.h"

#include <map>
#include <string>

#include "core/error.h"
#include "core/sha256.h"

namespace llmhost::text {
namespace {

// Ids as the template wants them; the same for a call and its result.
class Ids {
 public:
  explicit Ids(const ToolFormat& format) : format_(format) {}

  void fit_call(OrderedJson& call, const std::string& name) {
    const std::string old = call.value("id", OrderedJson("")).is_string() ? call.value("id", "") : "";
    if (format_.id_names) {
      const std::string named = fmt::format("{}{}:{}", format_.name_prefix, name, calls_++);
      names_.insert_or_assign(old, named);
      call["id"] = named;
    } else {
      fit(call, "id");
    }
  }

  void fit(OrderedJson& holder, const char* key) const {
    const auto id = holder.find(key);
    if (id == holder.end() || !id->is_string()) return;
    const std::string text = id->get<std::string>();
    if (const auto named = names_.find(text); named != names_.end()) *id = named->second;
    if (format_.id_length > 0 && text.size() != format_.id_length)
      *id = to_hex(sha256(text)).substr(0, format_.id_length);
  }

 private:
  const ToolFormat& format_;
  std::map<std::string, std::string> names_;
  size_t calls_ = 0;
};

void fit_arguments(const ToolFormat& format, OrderedJson& function, size_t message, size_t call) {
  const auto arguments = function.find("arguments");
  if (arguments == function.end() || arguments->is_null()) {
    function["arguments"] = format.arguments_as_text ? OrderedJson("{}") : OrderedJson::object();
  } else if (arguments->is_string() && !format.arguments_as_text) {
    const std::string where = fmt::format("messages[{}].tool_calls[{}].function.arguments", message, call);
    OrderedJson parsed = parse_ordered_json(arguments->get<std::string>(), where);
    if (!parsed.is_object()) throw_invalid("{}: it must be the JSON text of an object", where);
    *arguments = std::move(parsed);
  } else if (!arguments->is_string() && format.arguments_as_text) {
    *arguments = arguments->dump();
  }
}

void fit_message(const ToolFormat& format, Ids& ids, OrderedJson& message, size_t index) {
  if (!message.is_object()) return;
  ids.fit(message, "tool_call_id");
  const auto calls = message.find("tool_calls");
  if (calls == message.end() || !calls->is_array()) return;
  size_t number = 0;
  for (OrderedJson& call : *calls) {
    if (!call.is_object()) continue;
    std::string name;
    if (const auto function = call.find("function"); function != call.end() && function->is_object()) {
      fit_arguments(format, *function, index, number);
      if (const auto field = function->find("name"); field != function->end() && field->is_string())
        name = field->get<std::string>();
    }
    ids.fit_call(call, name);
    ++number;
  }
  if (!message.contains("content") || message["content"].is_null()) message["content"] = "";
}

bool begins_with_system(const OrderedJson& messages) {
  return !messages.empty() && messages[0].is_object() && messages[0].value("role", OrderedJson()) == "system";
}

void insert(OrderedJson& messages, size_t at, OrderedJson message) {
  messages.insert(messages.begin() + static_cast<std::ptrdiff_t>(at), std::move(message));
}

}  // namespace

OrderedJson tool_variables(const ToolFormat& format, OrderedJson messages, const OrderedJson& tools) {
  if (!messages.is_array()) throw_invalid("messages: it must be an array");
  Ids ids(format);
  for (size_t i = 0; i < messages.size(); ++i) fit_message(format, ids, messages[i], i);
  OrderedJson variables = OrderedJson::object();
  const bool any = tools.is_array() && !tools.empty();
  if (any && format.place == ToolPlace::kSystemKey) {
    if (!begins_with_system(messages)) insert(messages, 0, {{"role", "system"}, {"content", ""}});
    messages[0]["tools"] = tools.dump();
  }
  if (any && format.place == ToolPlace::kFunctionsMessage)
    insert(messages, begins_with_system(messages) ? 1 : 0,
           {{"role", "functions"}, {"content", tools.dump()}});
  if (any && format.place == ToolPlace::kVariable) variables["tools"] = tools;
  variables["messages"] = std::move(messages);
  return variables;
}

}  // namespace llmhost::text
