// Reads JSON in one pass without building a tree: vocabularies of megabytes go straight to their tables.
// Small values are handed to parse_json as slices. Errors name the source and the byte offset.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace llmhost::text {

class JsonCursor {
 public:
  JsonCursor(std::string_view text, std::string_view source, size_t base_offset = 0)
      : text_(text), source_(source), base_(base_offset) {}

  // The first character of the next value: '{', '[', '"', 't', 'f', 'n', '-' or a digit.
  char peek();
  // for (cursor.enter('{'); cursor.next('}');) …: next() steps over the comma and is false behind the closing
  // bracket.
  void enter(char open);
  bool next(char close);
  // A key and its colon; valid until the next read.
  std::string_view key();
  // The decoded text; valid until the next read.
  std::string_view string();
  int64_t integer();
  double number();
  // Steps over any value and returns its text.
  std::string_view skip();
  size_t offset() const { return base_ + at_; }
  void expect_end();

  [[noreturn]] void fail(std::string_view what) const;

 private:
  void space();
  void skip_string();
  std::string_view number_text();
  void read_escape();
  uint32_t hex4();

  std::string_view text_;
  std::string source_;
  size_t base_;
  size_t at_ = 0;
  bool first_ = false;  // just behind an opening bracket
  std::string buffer_;
};

}  // namespace llmhost::text
