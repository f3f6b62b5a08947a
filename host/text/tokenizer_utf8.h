// UTF-8 and the Unicode properties that tokenizers need. [thread-safe]
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace llmhost::text {

struct Utf8Char {
  char32_t code = 0xFFFD;
  uint8_t length =
      1;  // bytes read; for invalid input the maximal ill-formed part (Unicode 3.9, U+FFFD practice)
  bool valid = false;
  bool incomplete = false;  // invalid only because the text ends here
};

// The character at `position`, which must be inside the text.
Utf8Char utf8_at(std::string_view text, size_t position);
void append_utf8(std::string& out, char32_t code);
bool is_valid_utf8(std::string_view text);
bool is_ascii(std::string_view text);
// Each ill-formed part becomes one U+FFFD.
std::string replace_invalid_utf8(std::string_view text);

// Repairs a stream of bytes as replace_invalid_utf8 does, holding back a character that is not complete yet.
class Utf8Assembler {
 public:
  void push(std::string_view bytes, std::string& out);
  void finish(std::string& out);

 private:
  std::string pending_;
};

bool is_white_space(char32_t c);
bool is_numeric(char32_t c);      // general category N
bool is_punctuation(char32_t c);  // ASCII punctuation and general category P
bool is_mark(char32_t c);         // general category M
bool is_nonspacing_mark(char32_t c);
bool is_word(char32_t c);  // UTS 18 \w
bool is_control_or_format(char32_t c);
void append_lowercase(std::string& out, char32_t c);

enum class NormalForm { kNfc, kNfd, kNfkc, kNfkd };
std::string normalize_unicode(std::string_view text, NormalForm form);

// True where a grapheme cluster ends between two characters; `state` starts at 0.
bool is_grapheme_break(char32_t before, char32_t after, int32_t& state);

}  // namespace llmhost::text
