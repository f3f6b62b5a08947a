#include "serve/api/prompts.h"

#include <algorithm>

#include "serve/api/api_error.h"

namespace llmhost::serve {
namespace {

constexpr size_t kMaxPrompts = 256;

PromptInput from_text(const ServedModel& model, const std::string& text) {
  return {model.encode(text, false), text};
}

PromptInput from_tokens(const ServedModel& model, const OrderedJson& list, std::string_view field) {
  PromptInput prompt;
  prompt.tokens.reserve(list.size());
  const int64_t vocab = model.card().vocab_size;
  for (const OrderedJson& item : list) {
    if (!item.is_number_integer()) throw bad_field(field, "expected token ids");
    const auto token = item.get<int64_t>();
    if (token < 0 || token >= vocab)
      throw bad_field(field, fmt::format("token {} is not in the vocabulary of {}", token, vocab));
    prompt.tokens.push_back(static_cast<int32_t>(token));
  }
  return prompt;
}

PromptInput one_prompt(const ServedModel& model, const OrderedJson& value, std::string_view field) {
  if (value.is_string()) return from_text(model, value.get<std::string>());
  if (value.is_array()) return from_tokens(model, value, field);
  throw bad_field(field, "expected a string, a list of token ids, or a list of either");
}

}  // namespace

std::vector<PromptInput> read_prompts(const ServedModel& model, const OrderedJson& value,
                                      std::string_view field) {
  std::vector<PromptInput> prompts;
  if (value.is_string() || value.empty() || value.front().is_number()) {
    prompts.push_back(one_prompt(model, value, field));
  } else {
    if (value.size() > kMaxPrompts)
      throw bad_field(field, fmt::format("{} prompts are more than {}", value.size(), kMaxPrompts));
    for (const OrderedJson& item : value) prompts.push_back(one_prompt(model, item, field));
  }
  for (const PromptInput& prompt : prompts)
    if (prompt.tokens.empty()) throw bad_field(field, "a prompt has no tokens; there must be at least one");
  return prompts;
}

void show_prompts(const ServedModel& model, std::vector<PromptInput>& prompts) {
  for (PromptInput& prompt : prompts)
    if (prompt.text.empty()) prompt.text = model.tokenizer().decode(prompt.tokens, {.skip_special = true});
}

}  // namespace llmhost::serve
