#include "text/grammar/character_classes.h"

#include <fmt/format.h>

#include <optional>

#include "core/error.h"
#include "text/tokenizer_utf8.h"

namespace llmhost::text::grammar {
namespace {

CharacterClass one(char32_t code) {
  CharacterClass out;
  out.add(code, code);
  return out;
}

CharacterClass digits() {
  return {CodeSet{{'0', '9'}}, unicode_digits()};
}

CharacterClass words() {
  return {CodeSet{{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}}, unicode_words()};
}

CharacterClass spaces() {
  return {CodeSet{{'\t', '\r'}, {' ', ' '}}, unicode_spaces()};
}

CharacterClass category(PatternReader& in) {
  const size_t begin = in.offset();
  std::string name;
  if (in.take("{")) {
    while (!in.at_end() && !in.next_is("}")) append_utf8(name, in.take_character());
    if (!in.take("}")) in.fail("a closing '}' is missing");
  } else if (!in.at_end()) {
    append_utf8(name, in.take_character());
  }
  const CodeSet set = general_category(name);
  if (set.ranges().empty())
    in.fail_at(begin,
               fmt::format("\\p{{{}}} is not supported; only general categories such as L or Lu are", name));
  return {set, set};
}

char32_t unicode_escape(PatternReader& in) {
  if (in.take("{")) {
    char32_t code = 0;
    size_t n = 0;
    for (; n < 6 && !in.next_is("}"); ++n) code = code * 16 + in.take_hex(1);
    if (n == 0 || !in.take("}")) in.fail("\\u{...} needs one to six hexadecimal digits");
    if (code > kLastCodePoint) in.fail("the character is beyond U+10FFFF");
    return code;
  }
  const char32_t high = in.take_hex(4);
  if (high < 0xD800 || high > 0xDBFF || !in.take("\\u")) return high;
  const char32_t low = in.take_hex(4);
  if (low < 0xDC00 || low > 0xDFFF) in.fail("a high surrogate is not followed by a low one");
  return 0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00);
}

std::optional<CharacterClass> class_escape(PatternReader& in) {
  if (in.take("d")) return digits();
  if (in.take("D")) return digits().negated();
  if (in.take("w")) return words();
  if (in.take("W")) return words().negated();
  if (in.take("s")) return spaces();
  if (in.take("S")) return spaces().negated();
  if (in.take("p")) return category(in);
  if (in.take("P")) return category(in).negated();
  return std::nullopt;
}

// An end of a range in a class, or a whole set.
CharacterClass class_item(PatternReader& in) {
  if (!in.take("\\")) return one(in.take_character());
  if (in.take("b")) return one('\b');
  return read_escape(in);
}

bool is_one(const CharacterClass& item) {
  const auto& ranges = item.narrow.ranges();
  return ranges.size() == 1 && ranges[0].first == ranges[0].last &&
         item.narrow.ranges() == item.wide.ranges();
}

}  // namespace

PatternReader::PatternReader(std::string_view text, std::string_view source) : text_(text), source_(source) {
  if (!is_valid_utf8(text)) throw_invalid("{}: it is not valid UTF-8", source);
}

bool PatternReader::take(std::string_view expected) {
  if (!next_is(expected)) return false;
  at_ += expected.size();
  return true;
}

char32_t PatternReader::take_character() {
  if (at_end()) fail("it ends too early");
  const Utf8Char c = utf8_at(text_, at_);
  at_ += c.length;
  return c.code;
}

int64_t PatternReader::take_number() {
  constexpr size_t kMostDigits = 9;
  int64_t value = 0;
  size_t n = 0;
  for (; !at_end() && text_[at_] >= '0' && text_[at_] <= '9'; ++at_, ++n) {
    if (n == kMostDigits) fail("the number is too large");
    value = value * 10 + (text_[at_] - '0');
  }
  return n == 0 ? -1 : value;
}

char32_t PatternReader::take_hex(size_t digits) {
  char32_t code = 0;
  for (size_t i = 0; i < digits; ++i) {
    const char c = peek();
    const int value = c >= '0' && c <= '9'   ? c - '0'
                      : c >= 'a' && c <= 'f' ? c - 'a' + 10
                      : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                             : -1;
    if (value < 0) fail(fmt::format("{} hexadecimal digits were expected", digits));
    code = code * 16 + static_cast<char32_t>(value);
    ++at_;
  }
  return code;
}

void PatternReader::fail(std::string_view what) const {
  fail_at(at_, what);
}

void PatternReader::fail_at(size_t offset, std::string_view what) const {
  throw_invalid("{}: offset {}: {}", source_, offset, what);
}

CharacterClass read_escape(PatternReader& in) {
  if (in.at_end()) in.fail("it ends after a backslash");
  if (const auto set = class_escape(in)) return *set;
  const size_t begin = in.offset();
  const char32_t c = in.take_character();
  switch (c) {
    case 't':
      return one('\t');
    case 'n':
      return one('\n');
    case 'r':
      return one('\r');
    case 'f':
      return one('\f');
    case 'v':
      return one('\v');
    case '0':
      if (in.peek() >= '0' && in.peek() <= '9') in.fail_at(begin, "octal escapes are not supported");
      return one(0);
    case 'x':
      return one(in.take_hex(2));
    case 'u':
      return one(unicode_escape(in));
    case 'U':
      return one(in.take_hex(8));
    default:
      break;
  }
  const bool is_letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '1' && c <= '9');
  if (is_letter)
    in.fail_at(begin, c <= '9'               ? "back references are not supported"
                      : c == 'b' || c == 'B' ? "word boundaries (\\b, \\B) are not supported"
                                             : "this escape is not supported");
  return one(c);
}

CharacterClass read_class(PatternReader& in) {
  CharacterClass out;
  const bool is_negated = in.take("^");
  while (!in.take("]")) {
    if (in.at_end()) in.fail("a class '[' has no closing ']'");
    if (in.next_is("[:") || in.next_is("&&")) in.fail("this kind of class is not supported");
    const CharacterClass item = class_item(in);
    if (!in.next_is("-") || in.next_is("-]") || !is_one(item)) {
      out.add(item);
      continue;
    }
    in.take("-");
    const CharacterClass last = class_item(in);
    if (!is_one(last) || last.narrow.ranges()[0].first < item.narrow.ranges()[0].first)
      in.fail("a range in a class ends before it begins");
    out.add(item.narrow.ranges()[0].first, last.narrow.ranges()[0].first);
  }
  return is_negated ? out.negated() : out;
}

CharacterClass any_but_line_ends() {
  CharacterClass ends;
  ends.add('\n', '\n');
  ends.add('\r', '\r');
  ends.add(0x85, 0x85);
  ends.add(0x2028, 0x2029);
  return ends.negated();
}

}  // namespace llmhost::text::grammar
