// Numbers and string escapes, as Python reads them.
#include <charconv>
#include <cmath>
#include <cstdlib>

#include "text/template/lexer.h"
#include "text/template/template_error.h"
#include "text/template/unicode.h"

namespace llmhost::text::jinja {
namespace {

bool is_digit_char(char c) {
  return c >= '0' && c <= '9';
}

int digit_value(char c) {
  if (is_digit_char(c)) return c - '0';
  const char lower_case = static_cast<char>(c | 0x20);
  return lower_case >= 'a' && lower_case <= 'f' ? lower_case - 'a' + 10 : 99;
}

// Digits of a base with single underscores between them, from `at`; appends them to `digits`.
size_t digit_run(std::string_view text, size_t at, int base, bool leading_underscore, std::string& digits) {
  const size_t begin = at;
  while (at < text.size()) {
    size_t next = at;
    if (text[next] == '_' && (at != begin || leading_underscore)) ++next;
    if (next >= text.size() || digit_value(text[next]) >= base) break;
    digits += text[next];
    at = next + 1;
  }
  return at;
}

void set_integer(const std::string& digits, int base, Token& token) {
  Integer value = 0;
  for (char c : digits)
    if (__builtin_mul_overflow(value, static_cast<Integer>(base), &value) ||
        __builtin_add_overflow(value, static_cast<Integer>(digit_value(c)), &value))
      fail_at(token.offset, "the integer is too big: integers have at most 127 bits here");
  token.kind = TokenKind::kInteger;
  token.integer = value;
}

// The fraction and exponent after the whole digits at `at`; 0 if the number is not a float.
size_t float_tail(std::string_view text, size_t at, std::string& digits) {
  bool fraction = false;
  std::string tail;
  if (at + 1 < text.size() && text[at] == '.' && is_digit_char(text[at + 1])) {
    tail += '.';
    at = digit_run(text, at + 1, 10, false, tail);
    fraction = true;
  }
  if (at < text.size() && (text[at] == 'e' || text[at] == 'E')) {
    size_t exponent = at + 1;
    std::string sign = "e";
    if (exponent < text.size() && (text[exponent] == '+' || text[exponent] == '-')) sign += text[exponent++];
    if (exponent < text.size() && is_digit_char(text[exponent])) {
      tail += sign;
      digits += tail;
      return digit_run(text, exponent, 10, false, digits);
    }
  }
  digits += tail;
  return fraction ? at : 0;
}

// One of \x, \u, \U with a fixed number of hex digits.
size_t hex_escape(std::string_view inside, size_t at, size_t count, size_t offset, std::string& out) {
  char32_t code = 0;
  for (size_t i = 0; i < count; ++i) {
    if (at + i >= inside.size() || digit_value(inside[at + i]) > 15)
      fail_at(offset, "truncated escape in the string");
    code = code * 16 + static_cast<char32_t>(digit_value(inside[at + i]));
  }
  if (code > 0x10FFFF || (code >= 0xD800 && code < 0xE000))
    fail_at(offset, "the string's escape is not a character");
  append_char(out, code);
  return at + count;
}

}  // namespace

bool read_number(std::string_view text, bool after_dot, Token& token, size_t& length) {
  if (text.empty() || !is_digit_char(text[0])) return false;
  std::string digits;
  const size_t whole = digit_run(text, 0, 10, false, digits);
  if (!after_dot) {
    std::string real = digits;
    if (const size_t end = float_tail(text, whole, real); end != 0) {
      token.kind = TokenKind::kFloat;
      token.real = std::strtod(real.c_str(), nullptr);
      length = end;
      return true;
    }
  }
  if (text[0] == '0' && text.size() > 1) {
    const char mark = static_cast<char>(text[1] | 0x20);
    const int base = mark == 'x' ? 16 : mark == 'o' ? 8 : mark == 'b' ? 2 : 0;
    std::string based;
    const size_t end = base == 0 ? 0 : digit_run(text, 2, base, true, based);
    if (!based.empty()) {
      set_integer(based, base, token);
      length = end;
      return true;
    }
    digits.clear();  // "012" is 0 and then 12, as in Jinja's grammar
    size_t at = 0;
    while (at < text.size() &&
           (text[at] == '0' || (text[at] == '_' && at + 1 < text.size() && text[at + 1] == '0')))
      ++at;
    set_integer("0", 10, token);
    length = at;
    return true;
  }
  set_integer(digits, 10, token);
  length = whole;
  return true;
}

std::string unescape(std::string_view inside, size_t offset) {
  std::string out;
  for (size_t i = 0; i < inside.size();) {
    if (inside[i] != '\\' || i + 1 >= inside.size()) {
      out += inside[i++];
      continue;
    }
    const char c = inside[i + 1];
    i += 2;
    static constexpr std::string_view kFrom = "abfnrtv\\'\"";
    static constexpr std::string_view kTo = "\a\b\f\n\r\t\v\\'\"";
    if (const size_t found = kFrom.find(c); found != std::string_view::npos) {
      out += kTo[found];
    } else if (c == '\n') {
      continue;
    } else if (c == 'x' || c == 'u' || c == 'U') {
      i = hex_escape(inside, i, c == 'x' ? 2 : c == 'u' ? 4 : 8, offset, out);
    } else if (c >= '0' && c <= '7') {
      char32_t code = static_cast<char32_t>(c - '0');
      for (int n = 0; n < 2 && i < inside.size() && inside[i] >= '0' && inside[i] <= '7'; ++n)
        code = code * 8 + static_cast<char32_t>(inside[i++] - '0');
      append_char(out, code);
    } else if (c == 'N') {
      fail_at(offset, "\\N escapes are not supported, write the character itself");
    } else {
      out += '\\';
      out += c;
    }
  }
  return out;
}

}  // namespace llmhost::text::jinja
