// What tests ask of grammars.
#pragma once

#include <algorithm>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "text/grammar/grammar.h"

namespace llmhost::test {

using text::Grammar;
using text::GrammarKind;
using text::GrammarSpec;
using text::TokenVocabulary;

// Each byte a token, then some longer ones.
inline std::vector<std::string> byte_tokens(std::vector<std::string> more = {}) {
  std::vector<std::string> tokens;
  for (int byte = 0; byte < 256; ++byte) tokens.emplace_back(1, static_cast<char>(byte));
  tokens.insert(tokens.end(), more.begin(), more.end());
  return tokens;
}

inline std::shared_ptr<const TokenVocabulary> byte_vocabulary() {
  static const auto vocabulary = std::make_shared<const TokenVocabulary>(byte_tokens());
  return vocabulary;
}

// Whether the grammar allows the text, and it may end there.
inline bool accepts(const std::shared_ptr<const Grammar>& grammar, std::string_view text) {
  const auto matcher = text::make_matcher(grammar, byte_vocabulary(), {});
  return matcher->try_accept_text(text) && matcher->may_end();
}

inline bool accepts(GrammarKind kind, std::string_view source, std::string_view text) {
  return accepts(text::compile_grammar({kind, std::string(source)}), text);
}

// The error of a source, or "compiled".
inline std::string refusal(GrammarKind kind, std::string_view source) {
  try {
    text::compile_grammar({kind, std::string(source)});
  } catch (const Error& error) {
    return error.what();
  }
  return "compiled";
}

inline bool has_bit(std::span<const uint64_t> mask, size_t bit) {
  return (mask[bit / 64] >> (bit % 64) & 1) != 0;
}

}  // namespace llmhost::test
