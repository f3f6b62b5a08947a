// Single tokens as bytes, for logprobs, and replies as text.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "engine/request.h"
#include "serve/models/served_model.h"

namespace llmhost::serve {

// [thread-safe]
class TokenNames {
 public:
  // Slow the first time a model is asked: it reads the whole vocabulary. The model must outlive it.
  explicit TokenNames(const ServedModel& model);
  // What the token adds to the text; a special token's name. Not always whole characters.
  std::string bytes(int32_t token) const;

 private:
  const text::Tokenizer* tokenizer_;
  std::shared_ptr<const text::TokenVocabulary> vocabulary_;  // null where there is none
};

// Decodes a reply. With a format, the special tokens that are marks of it stay in the text.
std::unique_ptr<engine::TokenDecoder> make_decoder(const text::Tokenizer& tokenizer,
                                                   const text::ToolFormat* format);

}  // namespace llmhost::serve
