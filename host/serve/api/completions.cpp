// POST /v1/completions
#include <algorithm>

#include "serve/api/endpoints.h"
#include "serve/api/prompts.h"
#include "serve/api/structured_output.h"
#include "serve/api/writers.h"

namespace llmhost::serve {
namespace {

constexpr int64_t kDefaultMaxTokens = 16;  // as OpenAI's

void run_completion(const std::shared_ptr<Call>& call, const CheckedBody& checked, ModelUse use) {
  const ServedModel& model = *use.model;
  GenerationPlan plan;
  AnswerFacts& facts = plan.facts;
  facts.id = answer_id("cmpl-", *call);
  facts.created = unix_time();
  facts.model = use.shown_name();
  facts.options = options_for(kCompletionBody, checked, model);
  facts.ignored = checked.ignored;
  facts.prompt_field = "prompt";
  facts.prompts = read_prompts(model, *checked.find("prompt"), facts.prompt_field);
  if (checked.find("max_tokens") == nullptr) {
    size_t longest = 0;
    for (const PromptInput& prompt : facts.prompts) longest = std::max(longest, prompt.tokens.size());
    const int64_t room = std::max<int64_t>(1, model.card().context_length - static_cast<int64_t>(longest));
    facts.options.max_tokens = std::min(kDefaultMaxTokens, room);
  }
  if (facts.options.echo) {
    show_prompts(model, facts.prompts);
    facts.options.prompt_logprobs = facts.options.sampling.logprobs;
    if (facts.options.prompt_logprobs && facts.options.stream)
      throw bad_field("echo", "with logprobs needs the whole answer: no stream");
  }
  plan.grammar = compile_form(answer_form(checked), *call->context().grammars, "response_format");
  plan.writer = make_completion_writer();
  facts.use = std::move(use);
  start_generation(call, std::move(plan));
}

}  // namespace

void completions(const std::shared_ptr<Call>& call) {
  auto checked =
      std::make_shared<CheckedBody>(check_body(kCompletionBody, call->request().body, call->compat()));
  with_model(call, checked->text("model"), {checked->text("adapter_id"), nullptr},
             [call, checked](ModelUse use) { run_completion(call, *checked, std::move(use)); });
}

}  // namespace llmhost::serve
