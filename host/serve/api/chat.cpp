// POST /v1/chat/completions
#include "serve/api/chat_prompt.h"
#include "serve/api/endpoints.h"
#include "serve/api/structured_output.h"
#include "serve/api/tool_forms.h"
#include "serve/api/writers.h"

namespace llmhost::serve {
namespace {

void run_chat(const std::shared_ptr<Call>& call, CheckedBody& checked, const ToolsOfRequest& tools,
              ModelUse use) {
  const ServedModel& model = *use.model;
  GenerationPlan plan;
  AnswerFacts& facts = plan.facts;
  facts.id = answer_id("chatcmpl-", *call);
  facts.created = unix_time();
  facts.model = use.shown_name();
  facts.options = options_for(kChatBody, checked, model);
  const OrderedJson messages = check_messages(*checked.find("messages"), {call->compat(), checked.ignored});
  facts.ignored = checked.ignored;
  facts.prompts.push_back(chat_prompt(model, checked, messages, tools));
  const auto form = answer_form(checked);
  plan_reply(model, tools, form, plan, *call->context().grammars);
  plan.writer = make_chat_writer();
  facts.use = std::move(use);
  start_generation(call, std::move(plan));
}

}  // namespace

void chat_completions(const std::shared_ptr<Call>& call) {
  auto checked = std::make_shared<CheckedBody>(check_body(kChatBody, call->request().body, call->compat()));
  if (checked->find("max_tokens") != nullptr && checked->find("max_completion_tokens") != nullptr)
    throw bad_field("max_tokens", "is another name of max_completion_tokens; one of them is enough");
  ToolsOfRequest tools = check_tools(*checked, call->compat());
  with_model(call, checked->text("model"), {checked->text("adapter_id"), nullptr},
             [call, checked, tools = std::move(tools)](ModelUse use) {
               run_chat(call, *checked, tools, std::move(use));
             });
}

}  // namespace llmhost::serve
