// POST /v1/responses; GET and DELETE /v1/responses/{id}
#include "serve/api/chat_prompt.h"
#include "serve/api/endpoints.h"
#include "serve/api/response_items.h"
#include "serve/api/response_store.h"
#include "serve/api/structured_output.h"
#include "serve/api/tool_forms.h"
#include "serve/api/writers.h"

namespace llmhost::serve {
namespace {

ApiError no_such_response() {
  ApiError error(404, "invalid_request_error", "this server remembers no such response");
  error.param = "previous_response_id";
  error.code = "response_not_found";
  return error;
}

OrderedJson value_or(const CheckedBody& checked, std::string_view name, OrderedJson otherwise) {
  const OrderedJson* value = checked.find(name);
  return value == nullptr ? std::move(otherwise) : *value;
}

// What the answer repeats of the request.
std::string echoed(const CheckedBody& checked, const TextOptions& options) {
  const OrderedJson fields = {
      {"instructions", value_or(checked, "instructions", nullptr)},
      {"max_output_tokens", value_or(checked, "max_output_tokens", nullptr)},
      {"parallel_tool_calls", checked.flag("parallel_tool_calls", true)},
      {"previous_response_id", value_or(checked, "previous_response_id", nullptr)},
      {"reasoning", value_or(checked, "reasoning", {{"effort", nullptr}, {"summary", nullptr}})},
      {"store", checked.flag("store", true)},
      {"temperature", options.sampling.temperature},
      {"text", value_or(checked, "text", {{"format", {{"type", "text"}}}})},
      {"tool_choice", value_or(checked, "tool_choice", "auto")},
      {"tools", value_or(checked, "tools", OrderedJson::array())},
      {"top_logprobs", options.sampling.top_logprobs},
      {"top_p", options.sampling.top_p},
      {"truncation", "disabled"},
      {"background", false},
      {"metadata", OrderedJson::object()}};
  std::string text = fields.dump(-1, ' ', false, OrderedJson::error_handler_t::replace);
  return text.substr(1, text.size() - 2) + ',';
}

// "reasoning": {"effort": …} as the field of a chat.
void read_reasoning(CheckedBody& checked) {
  const OrderedJson* reasoning = checked.find("reasoning");
  if (reasoning == nullptr) return;
  OrderedJson effort;
  for (const auto& [name, value] : reasoning->items()) {
    if (value.is_null()) continue;
    if (name != "effort")
      throw bad_field("reasoning", "only effort is supported in it", "unsupported_parameter");
    effort = value;
  }
  if (effort.is_null()) return;
  checked.json["reasoning_effort"] =
      check_object(kChatBody, {{"messages", OrderedJson::array()}, {"reasoning_effort", effort}},
                   Compat::kStrict)
          .text("reasoning_effort");
}

struct Conversation {
  OrderedJson kept;      // what is remembered: without instructions
  OrderedJson messages;  // what the model reads
};

Conversation read_conversation(const std::shared_ptr<Call>& call, CheckedBody& checked) {
  OrderedJson all = OrderedJson::array();
  if (const std::string id = checked.text("previous_response_id"); !id.empty()) {
    const auto stored = call->context().responses->get(id, call->request().caller.tenant);
    if (!stored) throw no_such_response();
    all = OrderedJson::parse(stored->messages);
  }
  const UnknownFields unknown{call->compat(), checked.ignored};
  for (OrderedJson& message : messages_of_input(*checked.find("input"), unknown))
    all.push_back(std::move(message));
  if (all.empty()) throw bad_field("input", "there must be at least one item");
  Conversation conversation;
  conversation.kept = check_messages(all, unknown);
  conversation.messages = OrderedJson::array();
  if (const std::string text = checked.text("instructions"); !text.empty())
    conversation.messages.push_back({{"role", "system"}, {"content", text}});
  for (const OrderedJson& message : conversation.kept) conversation.messages.push_back(message);
  return conversation;
}

// The conversation is written down before it is answered: what is done when the answer is there must be
// quick.
std::function<void(const Choice&, const std::string&)> storing(const std::shared_ptr<Call>& call,
                                                               std::string id, const OrderedJson& messages) {
  std::string kept = messages.dump(-1, ' ', false, OrderedJson::error_handler_t::replace);
  kept.pop_back();
  return [call, id = std::move(id), kept = std::move(kept)](const Choice& choice,
                                                            const std::string& body) mutable {
    kept += ',' + message_of_answer(choice).dump(-1, ' ', false, OrderedJson::error_handler_t::replace) + ']';
    call->context().responses->put({id, call->request().caller.tenant, std::move(kept), body});
  };
}

void run_response(const std::shared_ptr<Call>& call, CheckedBody& checked, const ToolsOfRequest& tools,
                  ModelUse use) {
  const ServedModel& model = *use.model;
  GenerationPlan plan;
  AnswerFacts& facts = plan.facts;
  facts.id = answer_id("resp_", *call);
  facts.created = unix_time();
  facts.model = use.shown_name();
  facts.options = options_for(kResponseBody, checked, model);
  const auto form = response_text_form(checked);
  ResponseEcho echo;
  echo.fields = echoed(checked, facts.options);
  Conversation conversation = read_conversation(call, checked);
  facts.ignored = checked.ignored;
  read_reasoning(checked);
  facts.prompt_field = "input";
  facts.prompts.push_back(chat_prompt(model, checked, conversation.messages, tools));
  if (checked.flag("store", true)) echo.store = storing(call, facts.id, conversation.kept);
  plan_reply(model, tools, form, plan, *call->context().grammars);
  plan.writer = make_response_writer(std::move(echo));
  facts.use = std::move(use);
  start_generation(call, std::move(plan));
}

}  // namespace

void create_response(const std::shared_ptr<Call>& call) {
  auto checked =
      std::make_shared<CheckedBody>(check_body(kResponseBody, call->request().body, call->compat()));
  ToolsOfRequest tools = check_tools(*checked, call->compat());
  with_model(call, checked->text("model"), {checked->text("adapter_id"), nullptr},
             [call, checked, tools = std::move(tools)](ModelUse use) {
               run_response(call, *checked, tools, std::move(use));
             });
}

void get_response(const std::shared_ptr<Call>& call) {
  const auto stored =
      call->context().responses->get(call->request().parameter("id"), call->request().caller.tenant);
  if (!stored) throw no_such_response();
  Response response;
  response.body = stored->body;
  call->exchange().send(std::move(response));
}

void delete_response(const std::shared_ptr<Call>& call) {
  const std::string id(call->request().parameter("id"));
  if (!call->context().responses->erase(id, call->request().caller.tenant)) throw no_such_response();
  Response response;
  response.body = OrderedJson{{"id", id}, {"object", "response.deleted"}, {"deleted", true}}.dump();
  call->exchange().send(std::move(response));
}

}  // namespace llmhost::serve
