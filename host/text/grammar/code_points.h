// Sets of Unicode code points without surrogates, and the bytes that they are in UTF-8.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "text/grammar/automaton.h"

namespace llmhost::text::grammar {

struct CodeRange {
  char32_t first = 0;
  char32_t last = 0;
  bool operator==(const CodeRange&) const = default;
};

inline constexpr char32_t kLastCodePoint = 0x10FFFF;

class CodeSet {
 public:
  CodeSet() = default;
  CodeSet(std::initializer_list<CodeRange> ranges) : ranges_(ranges) { normalise(); }

  void add(char32_t first, char32_t last) {
    ranges_.push_back({first, last});
    is_normal_ = false;
  }
  void add(const CodeSet& other);
  CodeSet complement() const;
  const std::vector<CodeRange>& ranges() const;  // sorted, apart from each other

 private:
  void normalise() const;

  mutable std::vector<CodeRange> ranges_;
  mutable bool is_normal_ = true;
};

// All that utf8proc puts into the general category ("L", "Lu", …); empty for a name that is none.
CodeSet general_category(std::string_view name);
CodeSet unicode_digits();  // category Nd
CodeSet unicode_words();   // letters, marks, digits, numbers, connectors
CodeSet unicode_spaces();

// Adds the ways of the set's characters from one state to the other.
void add_characters(Nfa& nfa, int32_t from, const CodeSet& set, int32_t to);

}  // namespace llmhost::text::grammar
