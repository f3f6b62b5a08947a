#include "text/template/unicode.h"

#include <utf8proc.h>

#include <algorithm>
#include <cstdlib>

#include "text/template/special_case.h"

namespace llmhost::text::jinja {
namespace {

utf8proc_category_t category(char32_t code) {
  return utf8proc_category(static_cast<utf8proc_int32_t>(code));
}

char32_t simple(utf8proc_int32_t (*map)(utf8proc_int32_t), char32_t code) {
  return static_cast<char32_t>(map(static_cast<utf8proc_int32_t>(code)));
}

bool is_cased(char32_t code) {
  return is_upper(code) || is_lower(code) || is_title(code);
}

void append_upper(std::string& out, char32_t code) {
  if (const SpecialCase* special = special_case(code)) {
    out += encode(special->upper);
  } else {
    append_char(out, simple(utf8proc_toupper, code));
  }
}

void append_title(std::string& out, char32_t code) {
  if (const SpecialCase* special = special_case(code)) {
    out += encode(special->title);
  } else {
    append_char(out, simple(utf8proc_totitle, code));
  }
}

bool is_case_ignorable(char32_t code) {
  const auto kind = category(code);
  return kind == UTF8PROC_CATEGORY_MN || kind == UTF8PROC_CATEGORY_ME || kind == UTF8PROC_CATEGORY_CF ||
         kind == UTF8PROC_CATEGORY_LM || kind == UTF8PROC_CATEGORY_SK || code == '\'' || code == '.' ||
         code == ':' || code == 0xB7 || code == 0x2019;
}

// Capital sigma at the end of a word becomes the final form.
bool final_sigma(const std::u32string& text, size_t at) {
  size_t before = at;
  while (before > 0 && is_case_ignorable(text[before - 1])) --before;
  if (before == 0 || !is_cased(text[before - 1])) return false;
  size_t after = at + 1;
  while (after < text.size() && is_case_ignorable(text[after])) ++after;
  return after == text.size() || !is_cased(text[after]);
}

void append_lower(std::string& out, const std::u32string& text, size_t at) {
  if (text[at] == 0x3A3) {
    append_char(out, final_sigma(text, at) ? 0x3C2 : 0x3C3);
  } else if (text[at] == 0x130) {
    out += "i\xCC\x87";
  } else {
    append_char(out, simple(utf8proc_tolower, text[at]));
  }
}

}  // namespace

char32_t first_char(std::string_view text) {
  utf8proc_int32_t code = 0;
  const auto size = utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                                     static_cast<utf8proc_ssize_t>(text.size()), &code);
  return size > 0 ? static_cast<char32_t>(code) : U'\uFFFD';
}

void append_char(std::string& out, char32_t code) {
  utf8proc_uint8_t bytes[4];
  const auto size = utf8proc_encode_char(static_cast<utf8proc_int32_t>(code), bytes);
  out.append(reinterpret_cast<const char*>(bytes), static_cast<size_t>(size));
}

bool is_ascii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

bool valid_utf8(std::string_view text) {
  while (!text.empty()) {
    utf8proc_int32_t code = 0;
    const auto size = utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                                       static_cast<utf8proc_ssize_t>(text.size()), &code);
    if (size <= 0) return false;
    text.remove_prefix(static_cast<size_t>(size));
  }
  return true;
}

size_t char_count(std::string_view text) {
  return static_cast<size_t>(std::count_if(
      text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

size_t byte_offset(std::string_view text, size_t chars) {
  size_t at = 0;
  while (chars-- > 0 && at < text.size()) at += char_size(text.substr(at));
  return at;
}

std::u32string decode(std::string_view text) {
  std::u32string out;
  out.reserve(text.size());
  while (!text.empty()) {
    out += first_char(text);
    text.remove_prefix(char_size(text));
  }
  return out;
}

std::string encode(std::u32string_view text) {
  std::string out;
  for (char32_t code : text) append_char(out, code);
  return out;
}

bool is_space(char32_t code) {
  if (code <= 0x20) return code == 0x20 || (code >= 0x09 && code <= 0x0D) || (code >= 0x1C && code <= 0x1F);
  return code == 0x85 || category(code) == UTF8PROC_CATEGORY_ZS || code == 0x2028 || code == 0x2029;
}

bool is_printable(char32_t code) {
  if (code == ' ') return true;
  switch (category(code)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
    case UTF8PROC_CATEGORY_ZS:
      return false;
    default:
      return true;
  }
}

bool is_alpha(char32_t code) {
  const auto kind = category(code);
  return kind >= UTF8PROC_CATEGORY_LU && kind <= UTF8PROC_CATEGORY_LO;
}
bool is_decimal(char32_t code) {
  return category(code) == UTF8PROC_CATEGORY_ND;
}
bool is_digit(char32_t code) {
  return is_decimal(code) || code == 0xB2 || code == 0xB3 || code == 0xB9 || code == 0x2070 ||
         (code >= 0x2074 && code <= 0x2079) || (code >= 0x2080 && code <= 0x2089) ||
         (code >= 0x2460 && code <= 0x2468);
}
bool is_numeric(char32_t code) {
  const auto kind = category(code);
  return kind == UTF8PROC_CATEGORY_ND || kind == UTF8PROC_CATEGORY_NL || kind == UTF8PROC_CATEGORY_NO;
}
bool is_upper(char32_t code) {
  return category(code) == UTF8PROC_CATEGORY_LU;
}
bool is_lower(char32_t code) {
  return category(code) == UTF8PROC_CATEGORY_LL || code == 0xAA || code == 0xBA;
}
bool is_title(char32_t code) {
  return category(code) == UTF8PROC_CATEGORY_LT;
}

bool is_identifier_start(char32_t code) {
  return code == '_' || is_alpha(code) || category(code) == UTF8PROC_CATEGORY_NL;
}
bool is_identifier_part(char32_t code) {
  const auto kind = category(code);
  return is_identifier_start(code) || kind == UTF8PROC_CATEGORY_ND || kind == UTF8PROC_CATEGORY_MN ||
         kind == UTF8PROC_CATEGORY_MC || kind == UTF8PROC_CATEGORY_PC;
}

std::string upper(std::string_view text) {
  std::string out;
  for (char32_t code : decode(text)) append_upper(out, code);
  return out;
}

std::string lower(std::string_view text) {
  const std::u32string codes = decode(text);
  std::string out;
  for (size_t i = 0; i < codes.size(); ++i) append_lower(out, codes, i);
  return out;
}

std::string title(std::string_view text) {
  const std::u32string codes = decode(text);
  std::string out;
  bool inside = false;
  for (size_t i = 0; i < codes.size(); ++i) {
    if (inside) {
      append_lower(out, codes, i);
    } else {
      append_title(out, codes[i]);
    }
    inside = is_cased(codes[i]);
  }
  return out;
}

std::string capitalize(std::string_view text) {
  const std::u32string codes = decode(text);
  std::string out;
  for (size_t i = 0; i < codes.size(); ++i) {
    if (i == 0) {
      append_title(out, codes[i]);
    } else {
      append_lower(out, codes, i);
    }
  }
  return out;
}

std::string swapcase(std::string_view text) {
  const std::u32string codes = decode(text);
  std::string out;
  for (size_t i = 0; i < codes.size(); ++i) {
    if (is_upper(codes[i])) {
      append_lower(out, codes, i);
    } else if (is_lower(codes[i])) {
      append_upper(out, codes[i]);
    } else {
      append_char(out, codes[i]);
    }
  }
  return out;
}

std::string casefold(std::string_view text) {
  utf8proc_uint8_t* folded = nullptr;
  const auto size = utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                                 static_cast<utf8proc_ssize_t>(text.size()), &folded, UTF8PROC_CASEFOLD);
  std::string out;
  if (size > 0) out.assign(reinterpret_cast<const char*>(folded), static_cast<size_t>(size));
  std::free(folded);  // utf8proc allocates with malloc
  return out;
}

std::string_view strip_left(std::string_view text) {
  while (!text.empty() && is_space(first_char(text))) text.remove_prefix(char_size(text));
  return text;
}

namespace {
size_t last_char_start(std::string_view text) {
  size_t at = text.size() - 1;
  while (at > 0 && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80) --at;
  return at;
}
}  // namespace

std::string_view strip_right(std::string_view text) {
  while (!text.empty() && is_space(first_char(text.substr(last_char_start(text)))))
    text = text.substr(0, last_char_start(text));
  return text;
}

std::string_view strip_left(std::string_view text, std::string_view characters) {
  const std::u32string set = decode(characters);
  while (!text.empty() && set.find(first_char(text)) != std::u32string::npos)
    text.remove_prefix(char_size(text));
  return text;
}

std::string_view strip_right(std::string_view text, std::string_view characters) {
  const std::u32string set = decode(characters);
  while (!text.empty() && set.find(first_char(text.substr(last_char_start(text)))) != std::u32string::npos)
    text = text.substr(0, last_char_start(text));
  return text;
}

}  // namespace llmhost::text::jinja
