#include "text/json_cursor.h"

#include <charconv>

#include "core/error.h"
#include "text/tokenizer_utf8.h"

namespace llmhost::text {
namespace {

constexpr int kMaxDepth = 256;

}  // namespace

void JsonCursor::fail(std::string_view what) const {
  throw_invalid("{}: not valid JSON at byte {}: {}; the file is damaged", source_, offset(), what);
}

void JsonCursor::space() {
  while (at_ < text_.size() &&
         (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\r' || text_[at_] == '\t'))
    ++at_;
}

char JsonCursor::peek() {
  space();
  if (at_ >= text_.size()) fail("the text ends too early");
  return text_[at_];
}

void JsonCursor::enter(char open) {
  if (peek() != open) fail(open == '{' ? "an object was expected" : "a list was expected");
  ++at_;
  first_ = true;
}

bool JsonCursor::next(char close) {
  const char c = peek();
  const bool first = first_;
  first_ = false;
  if (c == close) {
    ++at_;
    return false;
  }
  if (first) return true;
  if (c != ',') fail("a comma was expected");
  ++at_;
  if (peek() == close) fail("a value was expected after the comma");
  return true;
}

std::string_view JsonCursor::key() {
  const std::string_view text = string();
  if (peek() != ':') fail("a colon was expected");
  ++at_;
  return text;
}

uint32_t JsonCursor::hex4() {
  uint32_t value = 0;
  if (at_ + 4 > text_.size()) fail("a \\u escape is cut short");
  const auto [end, error] = std::from_chars(text_.data() + at_, text_.data() + at_ + 4, value, 16);
  if (error != std::errc() || end != text_.data() + at_ + 4)
    fail("a \\u escape needs four hexadecimal digits");
  at_ += 4;
  return value;
}

void JsonCursor::read_escape() {
  if (at_ >= text_.size()) fail("a string is cut short");
  const char c = text_[at_++];
  switch (c) {
    case 'n':
      buffer_ += '\n';
      return;
    case 't':
      buffer_ += '\t';
      return;
    case 'r':
      buffer_ += '\r';
      return;
    case 'b':
      buffer_ += '\b';
      return;
    case 'f':
      buffer_ += '\f';
      return;
    case '"':
    case '\\':
    case '/':
      buffer_ += c;
      return;
    case 'u':
      break;
    default:
      fail("an unknown escape in a string");
  }
  uint32_t code = hex4();
  if (code >= 0xD800 && code < 0xDC00 && text_.substr(at_, 2) == "\\u") {
    at_ += 2;
    const uint32_t low = hex4();
    if (low < 0xDC00 || low > 0xDFFF) fail("half of a surrogate pair");
    code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
  } else if (code >= 0xD800 && code <= 0xDFFF) {
    fail("half of a surrogate pair");
  }
  append_utf8(buffer_, code);
}

std::string_view JsonCursor::string() {
  if (peek() != '"') fail("a string was expected");
  ++at_;
  const size_t begin = at_;
  const auto plain_end = [&] {
    while (at_ < text_.size() && text_[at_] != '"' && text_[at_] != '\\') ++at_;
    if (at_ >= text_.size()) fail("a string without its end");
  };
  plain_end();
  std::string_view result = text_.substr(begin, at_ - begin);
  if (text_[at_] == '\\') {
    buffer_.assign(result);
    while (text_[at_] != '"') {
      ++at_;
      read_escape();
      const size_t from = at_;
      plain_end();
      buffer_.append(text_.substr(from, at_ - from));
    }
    result = buffer_;
  }
  ++at_;
  if (!is_valid_utf8(result)) fail("a string is not valid UTF-8");
  return result;
}

std::string_view JsonCursor::number_text() {
  peek();
  const size_t begin = at_;
  while (at_ < text_.size() && std::string_view("+-.0123456789eE").find(text_[at_]) != std::string_view::npos)
    ++at_;
  if (at_ == begin) fail("a number was expected");
  return text_.substr(begin, at_ - begin);
}

int64_t JsonCursor::integer() {
  const std::string_view text = number_text();
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) fail("a whole number was expected");
  return value;
}

double JsonCursor::number() {
  const std::string_view text = number_text();
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) fail("a number was expected");
  return value;
}

void JsonCursor::skip_string() {
  for (++at_; at_ < text_.size() && text_[at_] != '"'; ++at_)
    if (text_[at_] == '\\') ++at_;
  if (at_ >= text_.size()) fail("a string without its end");
  ++at_;
}

std::string_view JsonCursor::skip() {
  peek();
  const size_t begin = at_;
  int depth = 0;
  do {
    const char c = peek();
    if (c == '"') {
      skip_string();
    } else if (c == '{' || c == '[') {
      if (++depth > kMaxDepth) fail("nested too deeply");
      ++at_;
    } else if (c == '}' || c == ']') {
      --depth;
      if (depth < 0) fail("a value was expected");
      ++at_;
    } else {
      ++at_;
      if (depth == 0)
        while (at_ < text_.size() &&
               std::string_view(",]} \n\r\t").find(text_[at_]) == std::string_view::npos)
          ++at_;
    }
  } while (depth > 0);
  return text_.substr(begin, at_ - begin);
}

void JsonCursor::expect_end() {
  space();
  if (at_ != text_.size()) fail("more text after the end");
}

}  // namespace llmhost::text
