#include "serve/api/response_items.h"

#include "serve/api/api_error.h"
#include "serve/api/generation.h"
#include "serve/api/messages.h"

namespace llmhost::serve {
namespace {

OrderedJson required(const OrderedJson& item, const char* name, const std::string& place) {
  const auto found = item.find(name);
  if (found == item.end() || !found->is_string()) throw bad_field(place + '.' + name, "must be a string");
  return *found;
}

OrderedJson call_of(const OrderedJson& item, const std::string& place, const UnknownFields& unknown) {
  unknown.check(item, place, {"type", "id", "status", "call_id", "name", "arguments"});
  return {{"id", required(item, "call_id", place)},
          {"type", "function"},
          {"function",
           {{"name", required(item, "name", place)}, {"arguments", required(item, "arguments", place)}}}};
}

// Calls of one turn stand in one message.
void add_call(const OrderedJson& item, const std::string& place, const UnknownFields& unknown,
              OrderedJson& messages) {
  OrderedJson call = call_of(item, place, unknown);
  if (messages.empty() || messages.back()["role"] != "assistant")
    messages.push_back({{"role", "assistant"}, {"content", ""}});
  messages.back()["tool_calls"].push_back(std::move(call));
}

void add_output(const OrderedJson& item, const std::string& place, const UnknownFields& unknown,
                OrderedJson& messages) {
  unknown.check(item, place, {"type", "id", "status", "call_id", "output"});
  const auto output = item.find("output");
  if (output == item.end()) throw bad_field(place + ".output", "is missing");
  messages.push_back(
      {{"role", "tool"}, {"tool_call_id", required(item, "call_id", place)}, {"content", *output}});
}

void add_message(const OrderedJson& item, const std::string& place, const UnknownFields& unknown,
                 OrderedJson& messages) {
  unknown.check(item, place, {"type", "id", "status", "phase", "role", "content"});
  messages.push_back(check_message(
      {{"role", required(item, "role", place)}, {"content", item.value("content", OrderedJson())}}, place,
      unknown));
}

void add_item(const OrderedJson& item, const std::string& place, const UnknownFields& unknown,
              OrderedJson& messages) {
  if (!item.is_object()) throw bad_field(place, "must be an object");
  const OrderedJson type = item.value("type", OrderedJson("message"));
  if (type == "message") {
    add_message(item, place, unknown, messages);
  } else if (type == "function_call") {
    add_call(item, place, unknown, messages);
  } else if (type == "function_call_output") {
    add_output(item, place, unknown, messages);
  } else if (type != "reasoning") {
    throw bad_field(place + ".type", "expected message, function_call, function_call_output or reasoning",
                    "unsupported_content");
  }
}

}  // namespace

OrderedJson messages_of_input(const OrderedJson& input, const UnknownFields& unknown) {
  OrderedJson messages = OrderedJson::array();
  if (input.is_string()) {
    messages.push_back({{"role", "user"}, {"content", input}});
    return messages;
  }
  for (size_t i = 0; i < input.size(); ++i)
    add_item(input[i], fmt::format("input[{}]", i), unknown, messages);
  return messages;
}

OrderedJson message_of_answer(const Choice& choice) {
  OrderedJson message = {{"role", "assistant"}, {"content", choice.text}};
  for (const text::ParsedCall& call : choice.calls)
    if (OrderedJson::accept(call.arguments))  // one that was cut off cannot be gone on with
      message["tool_calls"].push_back({{"id", call.id},
                                       {"type", "function"},
                                       {"function", {{"name", call.name}, {"arguments", call.arguments}}}});
  return message;
}

}  // namespace llmhost::serve
