// Cuts a template into text and the tokens of its tags, with Jinja's white space rules under trim_blocks and
// lstrip_blocks.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "text/template/value.h"

namespace llmhost::text::jinja {

enum class TokenKind : uint8_t {
  kData,
  kBlockBegin,
  kBlockEnd,
  kVariableBegin,
  kVariableEnd,
  kName,
  kString,
  kInteger,
  kFloat,
  kOperator,
  kEnd
};

struct Token {
  TokenKind kind = TokenKind::kEnd;
  size_t offset = 0;
  std::string text;  // data, name, operator, or the value of a string
  Integer integer = 0;
  double real = 0;

  bool is_operator(std::string_view symbol) const { return kind == TokenKind::kOperator && text == symbol; }
  bool is_name(std::string_view name) const { return kind == TokenKind::kName && text == name; }
};

// Line ends become "\n", and one at the end of the source is dropped. Offsets of tokens refer to this text.
std::string normalize_source(std::string_view source);

// Throws PlacedFault.
std::vector<Token> tokenize(std::string_view source);

// lexer_literals.cpp: the value of a quoted string's inside; a number at the start of `text` (false if there
// is none).
std::string unescape(std::string_view inside, size_t offset);
bool read_number(std::string_view text, bool after_dot, Token& token, size_t& length);

}  // namespace llmhost::text::jinja
