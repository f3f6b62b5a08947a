// Escapes and classes of characters as regular expressions write them.
//
// Dialects differ in whether \d, \w and \s take ASCII or Unicode. Here a text matches only when it does so in
// both readings: a class is the smaller set where it stands, and what a negated class leaves out is the
// larger.
#pragma once

#include <string_view>

#include "text/grammar/code_points.h"

namespace llmhost::text::grammar {

struct CharacterClass {
  CodeSet narrow;
  CodeSet wide;

  void add(char32_t first, char32_t last) {
    narrow.add(first, last);
    wide.add(first, last);
  }
  void add(const CharacterClass& other) {
    narrow.add(other.narrow);
    wide.add(other.wide);
  }
  CharacterClass negated() const { return {wide.complement(), narrow.complement()}; }
};

// Reads a text character by character, for errors with offsets.
class PatternReader {
 public:
  // Throws for text that is no UTF-8.
  PatternReader(std::string_view text, std::string_view source);

  bool at_end() const { return at_ == text_.size(); }
  size_t offset() const { return at_; }
  bool next_is(std::string_view expected) const { return text_.substr(at_).starts_with(expected); }
  bool take(std::string_view expected);
  std::string_view since(size_t offset) const { return text_.substr(offset, at_ - offset); }
  char peek() const { return at_end() ? '\0' : text_[at_]; }
  char32_t take_character();
  // A number of up to six digits; -1 when there is none.
  int64_t take_number();
  char32_t take_hex(size_t digits);
  [[noreturn]] void fail(std::string_view what) const;  // at the offset
  [[noreturn]] void fail_at(size_t offset, std::string_view what) const;

 private:
  std::string_view text_;
  std::string_view source_;
  size_t at_ = 0;
};

// After the backslash: \d \D \w \W \s \S \p{..} \P{..} or one character.
CharacterClass read_escape(PatternReader& in);
// After '[', up to and with ']'.
CharacterClass read_class(PatternReader& in);
// What '.' stands for: no end of a line in any dialect.
CharacterClass any_but_line_ends();

}  // namespace llmhost::text::grammar
