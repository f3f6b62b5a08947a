// The answer's form: how many, how it comes, what it must look like.
#include "serve/api/parameter_table.h"

namespace llmhost::serve {
namespace {

using engine::SamplingParams;

constexpr uint32_t kTextBodies = kChatBody | kCompletionBody;
constexpr double kMaxChoices = 64;
constexpr size_t kMaxGrammar = 256 * 1024;

std::vector<Parameter> choice_parameters() {
  return {
      {.name = "n",
       .bodies = kTextBodies,
       .kinds = kInteger,
       .documentation = "Answers to make.",
       .least = 1,
       .most = kMaxChoices,
       .default_text = "1",
       .apply = [](const OrderedJson& v, TextOptions& o) { o.n = v.get<int32_t>(); }},
      {.name = "best_of",
       .bodies = kCompletionBody,
       .kinds = kInteger,
       .documentation =
           "Answers to make, of which the n with the highest mean logprob are returned. Not with "
           "stream.",
       .least = 1,
       .most = kMaxChoices,
       .default_text = "n",
       .apply = [](const OrderedJson& v, TextOptions& o) { o.best_of = v.get<int32_t>(); }},
      {.name = "stream",
       .bodies = kTextBodies | kResponseBody,
       .kinds = kBool,
       .documentation = "The answer comes in pieces, as server-sent events.",
       .default_text = "false",
       .apply = [](const OrderedJson& v, TextOptions& o) { o.stream = v.get<bool>(); }},
      {.name = "stream_options",
       .bodies = kTextBodies | kResponseBody,
       .kinds = kObject,
       .documentation = "include_usage: a last piece with the usage.",
       .max_items = 8},
      {.name = "logprobs",
       .bodies = kChatBody,
       .kinds = kBool,
       .documentation = "The logprob of every token of the answer.",
       .default_text = "false",
       .apply = [](const OrderedJson& v, TextOptions& o) { o.sampling.logprobs = v.get<bool>(); }},
      {.name = "top_logprobs",
       .bodies = kChatBody | kResponseBody,
       .kinds = kInteger,
       .documentation = "So many of the most probable tokens at each place too. Needs logprobs in a chat.",
       .least = 0,
       .most = SamplingParams::kMaxTopLogprobs,
       .default_text = "0",
       .apply = [](const OrderedJson& v, TextOptions& o) { o.sampling.top_logprobs = v.get<int32_t>(); }},
      {.name = "include",
       .bodies = kResponseBody,
       .kinds = kList,
       .documentation = "message.output_text.logprobs: the logprob of every token.",
       .max_items = 8,
       .item_kinds = kString,
       .values = {"message.output_text.logprobs"},
       .apply = [](const OrderedJson& v, TextOptions& o) { o.sampling.logprobs = !v.empty(); }},
      {.name = "logprobs",
       .bodies = kCompletionBody,
       .kinds = kInteger,
       .documentation = "The logprob of every token, and of so many of the most probable ones at its place.",
       .least = 0,
       .most = SamplingParams::kMaxTopLogprobs,
       .apply =
           [](const OrderedJson& v, TextOptions& o) {
             o.sampling.logprobs = true;
             o.sampling.top_logprobs = v.get<int32_t>();
           }},
      {.name = "echo",
       .bodies = kCompletionBody,
       .kinds = kBool,
       .documentation = "The answer begins with the prompt; with logprobs it has the prompt's too.",
       .default_text = "false",
       .apply = [](const OrderedJson& v, TextOptions& o) { o.echo = v.get<bool>(); }},
  };
}

std::vector<Parameter> structure_parameters() {
  return {
      {.name = "response_format",
       .bodies = kTextBodies,
       .kinds = kObject,
       .documentation =
           "{\"type\": \"text\"}, {\"type\": \"json_object\"}, or {\"type\": \"json_schema\", "
           "\"json_schema\": {\"name\", \"schema\"}}: the answer is JSON that fits. A schema that "
           "cannot be kept to is refused.",
       .max_items = 8},
      {.name = "text",
       .bodies = kResponseBody,
       .kinds = kObject,
       .documentation = "format: as response_format of a chat, its fields without the inner object.",
       .max_items = 8},
      {.name = "structured_outputs",
       .bodies = kTextBodies,
       .kinds = kObject,
       .documentation = "One of json (a schema), json_object, regex, choice, grammar.",
       .max_items = 8},
      {.name = "guided_json",
       .bodies = kTextBodies,
       .kinds = kObject | kString,
       .documentation = "A JSON schema for the answer.",
       .max_bytes = kMaxGrammar},
      {.name = "guided_regex",
       .bodies = kTextBodies,
       .kinds = kString,
       .documentation = "A regular expression that the whole answer matches.",
       .max_bytes = kMaxGrammar},
      {.name = "guided_choice",
       .bodies = kTextBodies,
       .kinds = kList,
       .documentation = "The answer is one of these texts.",
       .max_bytes = 4096,
       .max_items = 1024,
       .item_kinds = kString},
      {.name = "guided_grammar",
       .bodies = kTextBodies,
       .kinds = kString,
       .documentation = "An EBNF grammar whose rule root the answer follows.",
       .max_bytes = kMaxGrammar},
      {.name = "grammar",
       .bodies = kTextBodies,
       .kinds = kString,
       .documentation = "Another name of guided_grammar.",
       .max_bytes = kMaxGrammar},
  };
}

std::vector<Parameter> cache_parameters() {
  return {
      {.name = "cache_prompt",
       .bodies = kTextBodies,
       .kinds = kBool,
       .documentation =
           "False: nothing that is kept of earlier requests is used, and nothing is kept of this "
           "one.",
       .default_text = "true",
       .apply = [](const OrderedJson& v, TextOptions& o) { o.cache_prompt = v.get<bool>(); }},
      {.name = "cache_salt",
       .bodies = kTextBodies | kResponseBody,
       .kinds = kString,
       .documentation = "What is kept of a prompt is used only by requests with the same salt (and key).",
       .max_bytes = 256,
       .apply = [](const OrderedJson& v, TextOptions& o) { o.cache_salt = v.get<std::string>(); }},
      {.name = "store",
       .bodies = kResponseBody,
       .kinds = kBool,
       .documentation = "Whether this process remembers the answer for previous_response_id; only in memory "
                        "and only the latest few hundred, for the same key.",
       .default_text = "true"},
  };
}

}  // namespace

std::vector<Parameter> output_parameters() {
  std::vector<Parameter> all = choice_parameters();
  for (const auto part : {structure_parameters, cache_parameters})
    for (Parameter& p : part()) all.push_back(std::move(p));
  return all;
}

}  // namespace llmhost::serve
