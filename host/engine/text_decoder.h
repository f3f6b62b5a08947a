// Tokens of a request as text, by a tokenizer; special tokens are left out.
#pragma once

#include <memory>
#include <string>

#include "engine/request.h"
#include "text/tokenizer.h"

namespace llmhost::engine {

class TextDecoder final : public TokenDecoder {
 public:
  explicit TextDecoder(const text::Tokenizer& tokenizer)
      : decoding_(tokenizer.new_decoding({.skip_special = true})) {}
  void push(int32_t token, std::string& out) override { decoding_->push(token, out); }
  void finish(std::string& out) override { decoding_->finish(out); }

 private:
  std::unique_ptr<text::Decoding> decoding_;
};

}  // namespace llmhost::engine
