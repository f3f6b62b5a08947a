// What templates need of Unicode on UTF-8 text: characters (code points) by index, Python's character classes
// and case. All functions take valid UTF-8 (templates and JSON are checked when they are read).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace llmhost::text::jinja {

inline size_t char_size(std::string_view text) {  // bytes of the first character
  const auto lead = static_cast<unsigned char>(text[0]);
  const size_t size = lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  return size <= text.size() ? size : text.size();
}
char32_t first_char(std::string_view text);
void append_char(std::string& out, char32_t code);
bool is_ascii(std::string_view text);
bool valid_utf8(std::string_view text);
size_t char_count(std::string_view text);
size_t byte_offset(std::string_view text,
                   size_t chars);  // of the character with this index; the size when past the end
std::u32string decode(std::string_view text);
std::string encode(std::u32string_view text);

bool is_space(char32_t code);  // Python's str.isspace
bool is_printable(char32_t code);
bool is_alpha(char32_t code);
bool is_decimal(char32_t code);
bool is_digit(char32_t code);
bool is_numeric(char32_t code);
bool is_upper(char32_t code);
bool is_lower(char32_t code);
bool is_title(char32_t code);
bool is_identifier_start(char32_t code);
bool is_identifier_part(char32_t code);

std::string upper(std::string_view text);
std::string lower(std::string_view text);
std::string title(std::string_view text);
std::string capitalize(std::string_view text);
std::string swapcase(std::string_view text);
std::string casefold(std::string_view text);

std::string_view strip_left(std::string_view text);
std::string_view strip_right(std::string_view text);
std::string_view strip_left(std::string_view text, std::string_view characters);
std::string_view strip_right(std::string_view text, std::string_view characters);

}  // namespace llmhost::text::jinja
