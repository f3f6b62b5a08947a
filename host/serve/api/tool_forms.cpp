#include "serve/api/tool_forms.h"

#include <algorithm>

#include "serve/api/structured_output.h"
#include "text/tools/tool_forcing.h"

namespace llmhost::serve {
namespace {

bool must_call(const ToolsOfRequest& tools) {
  return tools.choice == ToolsOfRequest::Choice::kRequired || tools.choice == ToolsOfRequest::Choice::kNamed;
}

std::vector<text::ToolDefinition> callable(const ToolsOfRequest& tools) {
  std::vector<text::ToolDefinition> all = tools.definitions();
  if (tools.choice == ToolsOfRequest::Choice::kNamed)
    std::erase_if(all, [&](const auto& tool) { return tool.name != tools.named; });
  return all;
}

bool has_strict(const ToolsOfRequest& tools, const std::vector<text::ToolDefinition>& called) {
  return std::any_of(called.begin(), called.end(), [&](const auto& tool) {
    return std::find(tools.strict.begin(), tools.strict.end(), tool.name) != tools.strict.end();
  });
}

// The tools' own schemas rule the arguments. When they ask for what cannot be enforced, any object may be the
// arguments, unless a tool is strict.
text::ForcedCalls forced_calls(const text::ToolFormat& format, const ToolsOfRequest& tools,
                               const std::string& prompt, GenerationPlan& plan, text::GrammarCache& cache) {
  text::ForcedOptions options;
  options.several = tools.parallel && tools.choice == ToolsOfRequest::Choice::kRequired;
  options.prompt_tail = prompt;
  const std::vector<text::ToolDefinition> called = callable(tools);
  for (const bool any_object : {false, true}) {
    options.any_object = any_object;
    text::ForcedCalls forced = text::force_calls(format, called, options);
    try {
      plan.grammar = cache.get({text::GrammarKind::kJsonSchema, forced.schema});
      return forced;
    } catch (const Error& error) {
      if (any_object || has_strict(tools, called)) throw bad_field("tools", error.what(), "invalid_grammar");
    }
  }
  throw bad_field("tools", "cannot be ruled");
}

void plan_forced(const ServedModel& model, const ToolsOfRequest& tools, GenerationPlan& plan,
                 text::GrammarCache& cache) {
  PromptInput& prompt = plan.facts.prompts.front();
  text::ForcedCalls forced = forced_calls(*model.tool_format(), tools, prompt.text, plan, cache);
  plan.parser.prompt_tail = prompt.text;
  plan.parser.prefill = forced.prefill;
  plan.parser.suffix = forced.suffix;
  plan.format = std::move(forced.format);
  prompt.text += forced.prefill;
  prompt.tokens = model.encode(prompt.text, true);
}

}  // namespace

void plan_reply(const ServedModel& model, const ToolsOfRequest& tools,
                const std::optional<text::GrammarSpec>& form, GenerationPlan& plan,
                text::GrammarCache& cache) {
  if (form && must_call(tools))
    throw bad_field("tool_choice", "a reply that must be a call has no other form");
  plan.grammar = compile_form(form, cache, "response_format");
  // A reply of a given form is content from its first byte.
  if (form) return;
  const text::ToolFormat* format = model.tool_format();
  if (format == nullptr) return;
  const bool has_reasoning = !format->reasoning_open.empty() || !format->channels.starts.empty();
  if (!tools.are_used() && !has_reasoning) return;
  plan.format = *format;
  plan.parser.tools = tools.definitions();
  plan.parser.calls = tools.are_used();
  plan.single_call = !tools.parallel;
  if (must_call(tools)) plan_forced(model, tools, plan, cache);
}

}  // namespace llmhost::serve
