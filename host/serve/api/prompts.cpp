#include "serve/api/prompts.h"

#include <algorithm>

#include "serve/api/api_error.h"

namespace llmhost::serve {
namespace {

constexpr size_t kMaxPrompts = 256;

// The end of a text, long enough for every prompt that fits.
std::string_view tail_of(const ServedModel& model, std::string_view text) {
  const size_t most = most_prompt_bytes(model);
  if (text.size() <= most) return text;
  text.remove_prefix(text.size() - most);
  while (!text.empty() && (static_cast<unsigned char>(text.front()) & 0xC0U) == 0x80U) text.remove_prefix(1);
  return text;
}

PromptInput from_text(const ServedModel& model, const std::string& text, std::string_view field,
                      int64_t truncate) {
  if (truncate > 0) return {model.encode(tail_of(model, text), false), text};
  return {encode_prompt(model, text, false, field), text};
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

PromptInput one_prompt(const ServedModel& model, const OrderedJson& value, std::string_view field,
                       int64_t truncate) {
  if (!value.is_string() && !value.is_array())
    throw bad_field(field, "expected a string, a list of token ids, or a list of either");
  PromptInput prompt = value.is_string() ? from_text(model, value.get<std::string>(), field, truncate)
                                         : from_tokens(model, value, field);
  const auto size = static_cast<int64_t>(prompt.tokens.size());
  const int64_t context = model.card().context_length;
  if (size == 0) throw bad_field(field, "a prompt has no tokens; there must be at least one");
  if (truncate > 0 && size > truncate)
    prompt.tokens.erase(prompt.tokens.begin(), prompt.tokens.end() - truncate);
  else if (size > context)
    throw context_overflow(size, 0, context, field);
  return prompt;
}

}  // namespace

size_t most_prompt_bytes(const ServedModel& model) {
  // Normalizers shorten texts: runs of spaces, composed characters.
  constexpr size_t kShortened = 4;
  const ModelCard& card = model.card();
  if (card.longest_piece <= 0 || card.context_length <= 0) return SIZE_MAX;
  return static_cast<size_t>(card.context_length) * static_cast<size_t>(card.longest_piece) * kShortened;
}

std::vector<int32_t> encode_prompt(const ServedModel& model, std::string_view text, bool is_rendered,
                                   std::string_view field) {
  if (text.size() > most_prompt_bytes(model))
    throw context_overflow_of_text(text.size(), model.card().context_length, field);
  return model.encode(text, is_rendered);
}

std::vector<PromptInput> read_prompts(const ServedModel& model, const OrderedJson& value,
                                      std::string_view field, int64_t truncate) {
  std::vector<PromptInput> prompts;
  if (value.is_string() || value.empty() || value.front().is_number()) {
    prompts.push_back(one_prompt(model, value, field, truncate));
  } else {
    if (value.size() > kMaxPrompts)
      throw bad_field(field, fmt::format("{} prompts are more than {}", value.size(), kMaxPrompts));
    for (const OrderedJson& item : value) prompts.push_back(one_prompt(model, item, field, truncate));
  }
  return prompts;
}

void show_prompts(const ServedModel& model, std::vector<PromptInput>& prompts) {
  for (PromptInput& prompt : prompts)
    if (prompt.text.empty()) prompt.text = model.tokenizer().decode(prompt.tokens, {.skip_special = true});
}

}  // namespace llmhost::serve
