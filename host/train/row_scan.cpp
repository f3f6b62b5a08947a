#include "train/row_scan.h"

#include <algorithm>

#include "core/error.h"
#include "core/json.h"
#include "core/names.h"

namespace llmhost::train {
namespace {

bool is_space(char c) {
  return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

constexpr size_t kMaxDepth = 256;

}  // namespace

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
  return text;
}

void JsonScan::refuse(std::string_view expected) {
  const char next = peek();
  throw_invalid("{}:{}: expected {}, there is {}", source_, line_, expected,
                next == 0 ? "the end of the file" : quote_name(text_.substr(at_, 1)));
}

void JsonScan::step(size_t n) {
  line_ += static_cast<size_t>(std::count(text_.begin() + static_cast<std::ptrdiff_t>(at_),
                                          text_.begin() + static_cast<std::ptrdiff_t>(at_ + n), '\n'));
  at_ += n;
}

char JsonScan::peek() {
  while (at_ < text_.size() && is_space(text_[at_])) step(1);
  return at_ < text_.size() ? text_[at_] : '\0';
}

void JsonScan::open(char bracket) {
  if (peek() != bracket) refuse(fmt::format("'{}'", bracket));
  step(1);
  is_first_ = true;
}

bool JsonScan::has_next(char closing) {
  const char next = peek();
  if (next == closing) {
    step(1);
    is_first_ = false;
    return false;
  }
  if (!is_first_) {
    if (next != ',') refuse(fmt::format("',' or '{}'", closing));
    step(1);
    if (peek() == closing) refuse("a value");
  }
  is_first_ = false;
  if (peek() == 0) refuse(fmt::format("'{}'", closing));
  return true;
}

size_t JsonScan::string_end(size_t begin) const {
  for (size_t i = begin + 1; i < text_.size(); ++i) {
    if (text_[i] == '\\')
      ++i;
    else if (text_[i] == '"')
      return i + 1;
  }
  throw_invalid("{}:{}: a string does not end", source_, line_);
}

std::string JsonScan::key() {
  if (peek() != '"') refuse("a key in quotes");
  const size_t end = string_end(at_);
  const std::string_view written = text_.substr(at_, end - at_);
  const Json name = parse_json(written, fmt::format("{}:{}", source_, line_));
  step(end - at_);
  if (peek() != ':') refuse("':'");
  step(1);
  return name.get<std::string>();
}

std::string_view JsonScan::value() {
  if (peek() == 0) refuse("a value");
  const size_t begin = at_;
  size_t end = begin;
  size_t depth = 0;
  do {
    if (end >= text_.size()) throw_invalid("{}:{}: a bracket is not closed", source_, line_);
    const char c = text_[end];
    if (c == '"') {
      end = string_end(end);
      continue;
    }
    if (c == '[' || c == '{') {
      if (++depth > kMaxDepth)
        throw_invalid("{}:{}: nested deeper than {} levels", source_, line_, kMaxDepth);
    } else if (c == ']' || c == '}') {
      if (depth == 0) refuse("a value");
      --depth;
    } else if (depth == 0) {  // a number or a word
      while (end < text_.size() && !is_space(text_[end]) && text_[end] != ',' && text_[end] != ']' &&
             text_[end] != '}')
        ++end;
      if (end == begin) refuse("a value");
      continue;
    }
    ++end;
  } while (depth > 0);
  step(end - begin);
  return text_.substr(begin, end - begin);
}

void JsonScan::finish() {
  if (!at_end()) refuse("nothing more");
}

bool CsvScan::record(std::vector<std::string>& cells) {
  cells.clear();
  while (at_ < text_.size() && at_line_end()) step_line();  // blank lines are no records
  if (at_ >= text_.size()) return false;
  line_ = next_line_;
  for (;;) {
    cell(cells.emplace_back());
    if (at_line_end()) break;
    ++at_;  // the separator
  }
  step_line();
  return true;
}

void CsvScan::step_line() {
  if (at_ < text_.size() && text_[at_] == '\r') ++at_;
  if (at_ < text_.size() && text_[at_] == '\n') ++at_;
  ++next_line_;
}

void CsvScan::cell(std::string& out) {
  if (at_ < text_.size() && text_[at_] == '"') return quoted(out);
  const size_t begin = at_;
  while (!at_line_end() && text_[at_] != separator_) {
    if (text_[at_] == '"')
      throw_invalid(
          "{}:{}: a quote inside a cell that does not begin with one; write it twice in a quoted cell",
          source_, next_line_);
    ++at_;
  }
  out = text_.substr(begin, at_ - begin);
}

void CsvScan::quoted(std::string& out) {
  const size_t opened = next_line_;
  for (++at_;; ++at_) {
    if (at_ >= text_.size()) throw_invalid("{}:{}: a quoted cell does not end", source_, opened);
    if (text_[at_] == '"') {
      ++at_;
      if (at_ >= text_.size() || text_[at_] != '"') break;
    }
    if (text_[at_] == '\n') ++next_line_;
    out += text_[at_];
  }
  if (!at_line_end() && text_[at_] != separator_)
    throw_invalid("{}:{}: text behind a quoted cell; quotes inside are written twice", source_, next_line_);
}

}  // namespace llmhost::train
