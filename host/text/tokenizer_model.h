// The model stage of a tokenizer: turns one pre-tokenized piece into ids. Constant after construction,
// [thread-safe].
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "text/tokenizer_vocab.h"

namespace llmhost::text {

class TokenModel {
 public:
  virtual ~TokenModel() = default;
  // `piece` is valid UTF-8, except for models over raw bytes.
  virtual void tokenize(std::string_view piece, std::vector<int32_t>& ids) const = 0;
  virtual const Vocab& vocab() const = 0;
};

// Ids of the pieces "<0x00>" … "<0xFF>"; kNone where the vocabulary lacks one.
struct ByteTokens {
  int32_t ids[256];
  explicit ByteTokens(const Vocab& vocab);
  // Appends the ids of all bytes and returns true, or changes nothing when one is missing.
  bool append(std::string_view bytes, std::vector<int32_t>& out) const;
};

// The byte of a piece written "<0xNN>", or -1.
int byte_of_piece(std::string_view piece);

}  // namespace llmhost::text
