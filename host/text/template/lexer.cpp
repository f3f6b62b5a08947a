#include "text/template/lexer.h"

#include <algorithm>

#include "text/template/template_error.h"
#include "text/template/unicode.h"

namespace llmhost::text::jinja {
namespace {

constexpr std::string_view kOperators[] = {"//", "**", "==", "!=", ">=", "<=", "+", "-", "/",
                                           "*",  "%",  "~",  "[",  "]",  "(",  ")", "{", "}",
                                           ">",  "<",  "=",  ".",  ":",  "|",  ",", ";"};

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(source) {}

  std::vector<Token> run() {
    while (at_ < source_.size()) root();
    add(TokenKind::kEnd, source_.size());
    return std::move(tokens_);
  }

 private:
  Token& add(TokenKind kind, size_t offset, std::string text = {}) {
    Token& token = tokens_.emplace_back();
    token.kind = kind;
    token.offset = offset;
    token.text = std::move(text);
    return token;
  }
  char peek(size_t ahead = 0) const { return at_ + ahead < source_.size() ? source_[at_ + ahead] : '\0'; }
  bool starts(std::string_view text) const { return source_.substr(at_).starts_with(text); }
  void skip_space() { at_ = source_.size() - strip_left(source_.substr(at_)).size(); }
  // Marks the end of one match of Jinja's lexer: lstrip_blocks asks whether a line starts after it.
  void matched() { line_starting_ = at_ > 0 && source_[at_ - 1] == '\n'; }

  // Text up to the next tag, and the tag's beginning.
  void root() {
    const size_t begin = at_;
    size_t tag = begin;
    for (;; ++tag) {
      tag = source_.find('{', tag);
      if (tag == std::string_view::npos || tag + 1 >= source_.size()) {
        add_data(begin, source_.substr(begin));
        at_ = source_.size();
        return;
      }
      if (source_[tag + 1] == '{' || source_[tag + 1] == '%' || source_[tag + 1] == '#') break;
    }
    const char kind = source_[tag + 1];
    at_ = tag + 2;
    const char sign = peek() == '-' || peek() == '+' ? peek() : '\0';
    if (sign != '\0') ++at_;
    add_data(begin, trimmed(source_.substr(begin, tag - begin), sign, kind != '{'));
    if (kind == '#') {
      comment(tag);
    } else if (kind == '%' && raw_begin()) {
      raw(tag);
    } else {
      matched();
      add(kind == '{' ? TokenKind::kVariableBegin : TokenKind::kBlockBegin, tag);
      tag_body(tag, kind == '{');
    }
  }

  void add_data(size_t offset, std::string_view text) {
    if (!text.empty()) add(TokenKind::kData, offset, std::string(text));
  }

  std::string_view trimmed(std::string_view text, char sign, bool lstrip) const {
    if (sign == '-') return strip_right(text);
    if (sign == '+' || !lstrip) return text;
    const size_t newline = text.rfind('\n');
    const size_t line = newline == std::string_view::npos ? 0 : newline + 1;
    if (line == 0 && !line_starting_) return text;
    return strip_left(text.substr(line)).empty() ? text.substr(0, line) : text;
  }

  // After "%}" or "#}": the newline that trim_blocks takes.
  void skip_newline() {
    if (peek() == '\n') ++at_;
  }

  void comment(size_t tag) {
    const size_t end = source_.find("#}", at_);
    if (end == std::string_view::npos) {
      if (at_ < source_.size()) fail_at(tag, "Missing end of comment tag");
      return;  // as in Jinja, a comment may begin at the very end
    }
    const char sign = end > at_ ? source_[end - 1] : '\0';
    at_ = end + 2;
    end_of_block(sign);
    matched();
  }

  void end_of_block(char sign) {
    if (sign == '-') {
      skip_space();
    } else if (sign != '+') {
      skip_newline();
    }
  }

  // At the inside of "{%": whether it is a raw tag; moves past it if so.
  bool raw_begin() {
    const size_t saved = at_;
    skip_space();
    if (starts("raw")) {
      at_ += 3;
      skip_space();
      if (starts("-%}")) {
        at_ += 3;
        skip_space();
        return true;
      }
      if (starts("%}")) {
        at_ += 2;
        return true;
      }
    }
    at_ = saved;
    return false;
  }

  void raw(size_t tag) {
    matched();
    const size_t begin = at_;
    for (size_t next = begin;; ++next) {
      next = source_.find("{%", next);
      if (next == std::string_view::npos && begin < source_.size())
        fail_at(tag, "Missing end of raw directive");
      if (next == std::string_view::npos) return;
      at_ = next + 2;
      const char sign = peek() == '-' || peek() == '+' ? peek() : '\0';
      if (sign != '\0') ++at_;
      skip_space();
      if (!starts("endraw")) continue;
      at_ += 6;
      skip_space();
      const char end_sign = peek() == '-' || peek() == '+' ? peek() : '\0';
      if (end_sign != '\0') ++at_;
      if (!starts("%}")) continue;
      at_ += 2;
      end_of_block(end_sign);
      add_data(begin, trimmed(source_.substr(begin, next - begin), sign, true));
      matched();
      return;
    }
  }

  bool tag_end(bool variable) {
    if (!open_.empty()) return false;
    const size_t begin = at_;
    const std::string_view close = variable ? "}}" : "%}";
    const char sign = peek() == '-' || (peek() == '+' && !variable) ? peek() : '\0';
    if (source_.substr(begin + (sign != '\0' ? 1 : 0)).substr(0, 2) != close) return false;
    at_ += sign != '\0' ? 3 : 2;
    if (!variable) {
      end_of_block(sign);
    } else if (sign == '-') {
      skip_space();
    }
    matched();
    add(variable ? TokenKind::kVariableEnd : TokenKind::kBlockEnd, begin);
    return true;
  }

  void tag_body(size_t tag, bool variable) {
    while (at_ < source_.size()) {
      skip_space();
      if (at_ >= source_.size()) break;
      if (tag_end(variable)) return;
      if (!token())
        fail_at(at_, fmt::format("unexpected char {}", repr_of(text_value(std::string(source_.substr(
                                                           at_, char_size(source_.substr(at_))))))));
    }
    if (!open_.empty()) fail_at(tag, fmt::format("a tag is not closed: '{}' is missing", open_.back()));
    fail_at(tag, variable ? "unexpected end of template, expected 'end of print statement'"
                          : "unexpected end of template, expected 'end of statement block'");
  }

  bool token() {
    const size_t begin = at_;
    const std::string_view rest = source_.substr(at_);
    Token number;
    size_t length = 0;
    if (read_number(rest, begin > 0 && source_[begin - 1] == '.', number, length)) {
      number.offset = begin;
      tokens_.push_back(number);
      at_ += length;
      return true;
    }
    if (is_identifier_part(first_char(rest))) return name();
    if (rest[0] == '\'' || rest[0] == '"') return string();
    for (std::string_view symbol : kOperators) {
      if (!rest.starts_with(symbol)) continue;
      balance(symbol);
      add(TokenKind::kOperator, begin, std::string(symbol));
      at_ += symbol.size();
      return true;
    }
    if (rest.starts_with('!')) fail_at(begin, "unexpected '!'");
    return false;
  }

  bool name() {
    const size_t begin = at_;
    if (!is_identifier_start(first_char(source_.substr(at_))))
      fail_at(begin, "Invalid character in identifier");
    while (at_ < source_.size() && is_identifier_part(first_char(source_.substr(at_))))
      at_ += char_size(source_.substr(at_));
    add(TokenKind::kName, begin, std::string(source_.substr(begin, at_ - begin)));
    return true;
  }

  bool string() {
    const size_t begin = at_;
    const char quote = source_[at_];
    for (++at_; at_ < source_.size() && source_[at_] != quote; ++at_)
      if (source_[at_] == '\\') ++at_;
    if (at_ >= source_.size()) fail_at(begin, "the string is not closed");
    add(TokenKind::kString, begin, unescape(source_.substr(begin + 1, at_ - begin - 1), begin));
    ++at_;
    return true;
  }

  void balance(std::string_view symbol) {
    const char c = symbol[0];
    if (c == '{' || c == '(' || c == '[') {
      open_.push_back(c == '{' ? '}' : c == '(' ? ')' : ']');
    } else if (c == '}' || c == ')' || c == ']') {
      if (open_.empty()) fail_at(at_, fmt::format("unexpected '{}'", c));
      if (open_.back() != c) fail_at(at_, fmt::format("unexpected '{}', expected '{}'", c, open_.back()));
      open_.pop_back();
    }
  }

  std::string_view source_;
  size_t at_ = 0;
  bool line_starting_ = true;
  std::vector<char> open_;
  std::vector<Token> tokens_;
};

}  // namespace

std::string normalize_source(std::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r') {
      out += '\n';
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
    } else {
      out += source[i];
    }
  }
  if (!out.empty() && out.back() == '\n') out.pop_back();
  return out;
}

std::vector<Token> tokenize(std::string_view source) {
  return Lexer(source).run();
}

}  // namespace llmhost::text::jinja
