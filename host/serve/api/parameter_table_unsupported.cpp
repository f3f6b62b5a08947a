// Fields of the OpenAI API, and of servers like it, that are refused with a reason or change nothing.
#include "serve/api/parameter_table.h"

namespace llmhost::serve {
namespace {

using Effect = Parameter::Effect;

constexpr uint32_t kAll = kChatBody | kCompletionBody | kResponseBody;
constexpr uint32_t kNew = kChatBody | kResponseBody;

Parameter refused(std::string_view name, uint32_t bodies, std::string_view why) {
  Parameter p;
  p.name = name;
  p.bodies = bodies;
  p.documentation = why;
  p.effect = Effect::kRefused;
  return p;
}

Parameter without_effect(std::string_view name, uint32_t bodies, std::string_view why) {
  Parameter p = refused(name, bodies, why);
  p.effect = Effect::kWithoutEffect;
  return p;
}

Parameter fixed(std::string_view name, uint32_t bodies, std::vector<std::string_view> values,
                std::string_view why) {
  Parameter p = refused(name, bodies, why);
  p.effect = Effect::kFixed;
  p.values = std::move(values);
  return p;
}

}  // namespace

std::vector<Parameter> unsupported_parameters() {
  return {
      without_effect("user", kAll | kEmbeddingBody, "The caller's name for its user; not looked at."),
      without_effect("safety_identifier", kNew, "The caller's name for its user; not looked at."),
      without_effect("metadata", kNew, "The caller's own notes; not kept."),
      without_effect("prompt_cache_key", kNew, "Prompts are found by their content."),
      without_effect("prompt_cache_retention", kNew, "What is kept of prompts goes when memory is needed."),
      without_effect("cache_control", kNew, "What is kept of prompts goes when memory is needed."),
      fixed("service_tier", kNew, {"\"auto\"", "\"default\""}, "There is one tier."),
      fixed("modalities", kChatBody, {"[\"text\"]"}, "Answers are text."),
      fixed("store", kChatBody, {"false"}, "Chats are not stored."),
      fixed("verbosity", kChatBody, {"\"medium\""}, "The prompt alone decides how much is said."),
      fixed("background", kResponseBody, {"false"}, "Answers are made while the caller waits."),
      fixed("truncation", kResponseBody, {"\"disabled\""}, "A prompt that is too long is an error."),
      refused("audio", kChatBody, "answers are text"),
      refused("prediction", kChatBody, "speculation is set up by the server, not by requests"),
      refused("web_search_options", kChatBody, "the server searches nothing"),
      refused("moderation", kNew, "answers are not moderated"),
      refused("prompt_cache_options", kNew, "what is kept of prompts is the server's own affair"),
      refused("functions", kChatBody, "deprecated; use tools"),
      refused("function_call", kChatBody, "deprecated; use tool_choice"),
      refused("suffix", kCompletionBody, "nothing is inserted between prompt and suffix"),
      refused("conversation", kResponseBody, "conversations are not kept; use previous_response_id or input"),
      refused("context_management", kResponseBody, "the context is never shortened"),
      refused("max_tool_calls", kResponseBody, "the server calls no tools of its own"),
      refused("prompt", kResponseBody, "there are no stored prompts"),
      refused("background_options", kResponseBody, "answers are made while the caller waits"),
      refused("access_programs", kResponseBody, "there are none"),
      refused("image", kResponseBody, "answers are text"),
      refused("chat_template", kChatBody | kTemplateBody, "templates come with the model, not with requests"),
      refused("use_beam_search", kChatBody | kCompletionBody, "beam search is not implemented"),
      refused("length_penalty", kChatBody | kCompletionBody, "beam search is not implemented"),
      refused("prompt_logprobs", kChatBody | kCompletionBody, "use echo with logprobs in a completion"),
      refused("typical_p", kChatBody | kCompletionBody, "typical decoding is not implemented"),
      refused("mirostat", kChatBody | kCompletionBody, "not implemented"),
      refused("bad_words", kChatBody | kCompletionBody, "use logit_bias"),
      refused("truncate_prompt_tokens", kChatBody | kCompletionBody | kEmbeddingBody,
              "a prompt that is too long is an error"),
  };
}

}  // namespace llmhost::serve
