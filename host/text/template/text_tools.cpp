#include "text/template/text_tools.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstdlib>

#include "text/template/unicode.h"

namespace llmhost::text::jinja {

std::string pad(std::string_view text, Integer width, char32_t fill, char align) {
  const auto length = static_cast<Integer>(char_count(text));
  if (width <= length) return std::string(text);
  if (width > (Integer{1} << 32)) fail("the width {} is too large", width);
  const auto missing = static_cast<size_t>(width - length);
  std::string unit;
  append_char(unit, fill);
  Meter::expect_bytes(missing * unit.size());
  size_t left = 0;
  if (align == '>') left = missing;
  if (align == '^') left = missing / 2 + (missing & static_cast<size_t>(width) & 1);
  std::string out;
  for (size_t i = 0; i < left; ++i) out += unit;
  out += text;
  for (size_t i = left; i < missing; ++i) out += unit;
  return out;
}

std::string replace_text(std::string_view text, std::string_view old, std::string_view with, Integer count) {
  std::string out;
  size_t at = 0;
  Meter::work(text.size() / 64);
  const auto grow = [&] {
    if (Meter* meter = Meter::current()) meter->check(out.size() + with.size());
  };
  for (; count != 0; --count) {
    if (old.empty()) {
      grow();
      out += with;
      if (at >= text.size()) return out;
      const size_t size = char_size(text.substr(at));
      out += text.substr(at, size);
      at += size;
      continue;
    }
    const size_t found = text.find(old, at);
    if (found == std::string_view::npos) break;
    grow();
    out += text.substr(at, found - at);
    out += with;
    at = found + old.size();
  }
  out += text.substr(at);
  return out;
}

std::vector<std::string> split_lines(std::string_view text, bool keep_ends) {
  std::vector<std::string> lines;
  size_t begin = 0;
  for (size_t at = 0; at < text.size();) {
    const char32_t code = first_char(text.substr(at));
    size_t next = at + char_size(text.substr(at));
    const bool ends = (code >= 0x0A && code <= 0x0D) || (code >= 0x1C && code <= 0x1E) || code == 0x85 ||
                      code == 0x2028 || code == 0x2029;
    if (ends) {
      if (code == '\r' && next < text.size() && text[next] == '\n') ++next;
      lines.emplace_back(text.substr(begin, (keep_ends ? next : at) - begin));
      begin = next;
    }
    at = next;
  }
  if (begin < text.size()) lines.emplace_back(text.substr(begin));
  return lines;
}

std::vector<std::string> split_space(std::string_view text, Integer max, bool from_right) {
  std::vector<std::string> parts;
  text = from_right ? strip_right(text) : strip_left(text);
  while (!text.empty()) {
    if (max == 0) {
      parts.emplace_back(from_right ? strip_right(text) : text);
      break;
    }
    --max;
    size_t begin = 0, end = 0;
    if (from_right) {
      begin = end = text.size();
      while (begin > 0) {
        size_t previous = begin - 1;
        while (previous > 0 && (static_cast<unsigned char>(text[previous]) & 0xC0) == 0x80) --previous;
        if (is_space(first_char(text.substr(previous)))) break;
        begin = previous;
      }
      parts.emplace_back(text.substr(begin));
      text = strip_right(text.substr(0, begin));
    } else {
      while (end < text.size() && !is_space(first_char(text.substr(end)))) end += char_size(text.substr(end));
      parts.emplace_back(text.substr(0, end));
      text = strip_left(text.substr(end));
    }
  }
  if (from_right) std::reverse(parts.begin(), parts.end());
  return parts;
}

std::vector<std::string> split_on(std::string_view text, std::string_view separator, Integer max,
                                  bool from_right) {
  if (separator.empty()) fail("empty separator");
  std::vector<std::string> parts;
  for (; max != 0; --max) {
    const size_t found = from_right ? text.rfind(separator) : text.find(separator);
    if (found == std::string_view::npos) break;
    if (from_right) {
      parts.emplace_back(text.substr(found + separator.size()));
      text = text.substr(0, found);
    } else {
      parts.emplace_back(text.substr(0, found));
      text.remove_prefix(found + separator.size());
    }
  }
  parts.emplace_back(text);
  if (from_right) std::reverse(parts.begin(), parts.end());
  return parts;
}

namespace {

std::string without(std::string_view text, std::string_view open, std::string_view close) {
  std::string out;
  for (;;) {
    const size_t begin = text.find(open);
    const size_t end = begin == std::string_view::npos ? begin : text.find(close, begin);
    if (end == std::string_view::npos) break;
    out += text.substr(0, begin);
    text.remove_prefix(end + close.size());
  }
  out += text;
  return out;
}

// The character of a named or numeric entity without "&" and ";"; 0 if it is not one that is known here.
char32_t entity(std::string_view name) {
  static constexpr std::pair<std::string_view, char32_t> kNames[] = {
      {"amp", '&'},   {"lt", '<'},    {"gt", '>'},    {"quot", '"'},
      {"apos", '\''}, {"nbsp", 0xA0}, {"copy", 0xA9}, {"hellip", 0x2026}};
  for (const auto& [known, code] : kNames)
    if (known == name) return code;
  if (name.size() < 2 || name[0] != '#' || name.size() > 9) return 0;
  const bool hex = name[1] == 'x' || name[1] == 'X';
  char* end = nullptr;
  const std::string digits(name.substr(hex ? 2 : 1));
  if (digits.empty() || std::isxdigit(static_cast<unsigned char>(digits[0])) == 0) return 0;
  const unsigned long code = std::strtoul(digits.c_str(), &end, hex ? 16 : 10);
  const bool valid = *end == '\0' && code != 0 && code < 0x110000 && (code < 0xD800 || code > 0xDFFF);
  return valid ? static_cast<char32_t>(code) : 0;
}

}  // namespace

std::string strip_markup(std::string_view text) {
  const std::string plain = without(without(text, "<!--", "-->"), "<", ">");
  std::string joined;
  for (const std::string& word : split_space(plain, -1, false)) joined += (joined.empty() ? "" : " ") + word;
  std::string out;
  for (size_t i = 0; i < joined.size(); ++i) {
    const size_t end = joined[i] == '&' ? joined.find(';', i) : std::string::npos;
    const char32_t code =
        end == std::string::npos ? 0 : entity(std::string_view(joined).substr(i + 1, end - i - 1));
    if (code == 0) {
      out += joined[i];
    } else {
      append_char(out, code);
      i = end;
    }
  }
  return out;
}

std::string url_quote(std::string_view text, bool for_query) {
  std::string out;
  for (char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    const bool plain =
        (byte < 0x80 && std::isalnum(byte) != 0) || c == '_' || c == '.' || c == '-' || c == '~';
    if (plain || (c == '/' && !for_query)) {
      out += c;
    } else if (c == ' ' && for_query) {
      out += '+';
    } else {
      out += fmt::format("%{:02X}", byte);
    }
  }
  return out;
}

namespace {

bool word_char(char32_t code) {
  return is_alpha(code) || is_numeric(code) || code == '_';
}
bool letter(char32_t code) {
  return word_char(code) && !is_decimal(code);
}

// Chunks that a line may be broken between: runs of white space, words, and the parts of hyphenated words.
std::vector<std::u32string> wrap_chunks(const std::u32string& text, bool break_hyphens) {
  std::vector<std::u32string> chunks;
  const auto space = [](char32_t code) { return code == ' ' || (code >= 9 && code <= 13); };
  for (size_t i = 0; i < text.size();) {
    size_t end = i;
    if (space(text[i])) {
      while (end < text.size() && space(text[end])) ++end;
    } else {
      while (end < text.size() && !space(text[end])) {
        ++end;
        const bool hyphen = break_hyphens && text[end - 1] == '-' && end >= i + 3 && letter(text[end - 2]) &&
                            word_char(text[end - 3]) && end + 1 < text.size() && word_char(text[end]) &&
                            letter(text[end + 1]);
        if (hyphen) break;
      }
    }
    chunks.push_back(text.substr(i, end - i));
    i = end;
  }
  return chunks;
}

}  // namespace

std::vector<std::string> wrap_line(std::string_view line, size_t width, bool break_words,
                                   bool break_hyphens) {
  std::vector<std::u32string> chunks = wrap_chunks(decode(line), break_hyphens);
  std::reverse(chunks.begin(), chunks.end());
  const auto blank = [](const std::u32string& chunk) {
    return std::all_of(chunk.begin(), chunk.end(), is_space);
  };
  std::vector<std::string> lines;
  while (!chunks.empty()) {
    std::vector<std::u32string> current;
    size_t length = 0;
    if (!lines.empty() && blank(chunks.back())) chunks.pop_back();
    while (!chunks.empty() && length + chunks.back().size() <= width) {
      length += chunks.back().size();
      current.push_back(std::move(chunks.back()));
      chunks.pop_back();
    }
    if (!chunks.empty() && chunks.back().size() > width) {
      if (break_words) {
        const size_t room = width - length;
        current.push_back(chunks.back().substr(0, room));
        chunks.back().erase(0, room);
      } else if (current.empty()) {
        current.push_back(std::move(chunks.back()));
        chunks.pop_back();
      }
    }
    if (!current.empty() && blank(current.back())) current.pop_back();
    if (current.empty()) continue;
    std::string text;
    for (const std::u32string& chunk : current) text += encode(chunk);
    lines.push_back(std::move(text));
  }
  return lines;
}

std::optional<Integer> parse_integer(std::string_view text, int base) {
  text = strip_left(strip_right(text));
  const bool negative = text.starts_with('-');
  if (negative || text.starts_with('+')) text.remove_prefix(1);
  const auto prefixed = [&](char mark) {
    return text.size() > 2 && text[0] == '0' && (text[1] | 0x20) == mark;
  };
  int implied = 10;
  for (const auto& [mark, value] : {std::pair{'x', 16}, std::pair{'o', 8}, std::pair{'b', 2}}) {
    if (!prefixed(mark) || (base != 0 && base != value)) continue;
    text.remove_prefix(2);
    implied = value;
  }
  if (base == 0) base = implied;
  Integer value = 0;
  bool after_digit = false;
  for (char c : text) {
    if (c == '_' && after_digit) {
      after_digit = false;
      continue;
    }
    const int digit = c >= '0' && c <= '9'                               ? c - '0'
                      : std::isalpha(static_cast<unsigned char>(c)) != 0 ? (c | 0x20) - 'a' + 10
                                                                         : 99;
    if (digit >= base) return std::nullopt;
    if (__builtin_mul_overflow(value, static_cast<Integer>(base), &value) ||
        __builtin_add_overflow(value, static_cast<Integer>(digit), &value))
      fail("the integer is too big: integers have at most 127 bits here");
    after_digit = true;
  }
  if (!after_digit) return std::nullopt;
  return negative ? -value : value;
}

std::optional<double> parse_real(std::string_view text) {
  text = strip_left(strip_right(text));
  std::string plain;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto digit = [&](size_t at) {
      return at < text.size() && std::isdigit(static_cast<unsigned char>(text[at])) != 0;
    };
    if (text[i] == '_' && i > 0 && digit(i - 1) && digit(i + 1)) continue;
    plain += static_cast<char>(std::tolower(static_cast<unsigned char>(text[i])));
  }
  std::string_view body = plain;
  if (body.starts_with('-') || body.starts_with('+')) body.remove_prefix(1);
  const bool special = body == "inf" || body == "infinity" || body == "nan";
  if (!special && (body.empty() || body.find_first_not_of("0123456789.e+-") != std::string_view::npos))
    return std::nullopt;
  char* end = nullptr;
  const double value = std::strtod(plain.c_str(), &end);
  if (end != plain.c_str() + plain.size() || plain.empty()) return std::nullopt;
  return value;
}

}  // namespace llmhost::text::jinja
