// Finds the values of a large JSON document and the records of a CSV one without making anything of the rest.
// Errors name the source and the line.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace llmhost::train {

// Without white space as JSON has it at both ends.
std::string_view trimmed(std::string_view text);

// Walks over JSON text. Only the brackets and strings are looked at: what a value holds is checked by whoever
// parses it.
class JsonScan {
 public:
  JsonScan(std::string_view text, std::string_view source) : text_(text), source_(source) {}

  // The next character that is no white space; 0 at the end.
  char peek();
  size_t line() const { return line_; }  // of what comes next, after peek()
  void open(char bracket);
  // Whether another value (in an object: key) comes before `closing`; steps over the comma or the bracket.
  bool has_next(char closing);
  std::string key();         // and the colon behind it
  std::string_view value();  // the text of the next value
  bool at_end() { return peek() == 0; }
  void finish();  // throws where anything is left

 private:
  [[noreturn]] void refuse(std::string_view expected);
  void step(size_t n);
  size_t string_end(size_t begin) const;

  std::string_view text_;
  std::string_view source_;
  size_t at_ = 0;
  size_t line_ = 1;
  bool is_first_ = true;  // of the bracket opened last
};

class CsvScan {
 public:
  CsvScan(std::string_view text, char separator, std::string_view source)
      : text_(text), separator_(separator), source_(source) {}

  // The cells of the next record; false at the end.
  bool record(std::vector<std::string>& cells);
  size_t line() const { return line_; }  // on which the record began

 private:
  void cell(std::string& out);
  void quoted(std::string& out);
  void step_line();
  bool at_line_end() const { return at_ >= text_.size() || text_[at_] == '\n' || text_[at_] == '\r'; }

  std::string_view text_;
  char separator_;
  std::string_view source_;
  size_t at_ = 0;
  size_t line_ = 0;
  size_t next_line_ = 1;
};

}  // namespace llmhost::train
