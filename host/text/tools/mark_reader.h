// Reads a reply that may not be whole yet. Every answer depends on the bytes before it alone, so that a reply
// in pieces is read as the whole one is: where the end of the text leaves a question open, it is kMore.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace llmhost::text {

enum class Got { kYes, kNo, kMore };

// Where the first of some marks stands.
struct MarkPlace {
  Got got = Got::kNo;
  size_t at = 0;      // of the mark; with kMore: of what may become one; with kNo: the end of the text
  size_t length = 0;  // of the mark
  size_t which = 0;
};

// The earliest mark at or after `from`, the longest of those at one place. `whole`: no more text will come.
MarkPlace find_mark(std::string_view text, size_t from, std::span<const std::string> marks, bool whole);

struct MarkReader {
  std::string_view text;
  size_t at = 0;
  bool whole = false;  // no more text will come

  bool ended() const { return at >= text.size(); }
  std::string_view rest() const { return text.substr(at); }
  void skip_space();
  // Steps over `mark` if it comes next. At the end of a whole text: kNo.
  Got literal(std::string_view mark);
  // The text before the first of the marks, and steps over the mark.
  Got until(std::span<const std::string> marks, std::string& before, size_t* which = nullptr);
  Got until(const std::string& mark, std::string& before) { return until({&mark, 1}, before); }
};

bool is_space(char c);
std::string_view trimmed(std::string_view text);
// Letters, digits, "_-./:" and everything beyond ASCII.
bool is_name(std::string_view text);

}  // namespace llmhost::text
