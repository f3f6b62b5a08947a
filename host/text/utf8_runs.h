// Splits any bytes into stretches of valid UTF-8, which patterns can read, and stretches that are not.
#pragma once

#include <string_view>

#include "text/tokenizer_utf8.h"

namespace llmhost::text {

// Calls `valid(run)` and `invalid(run)` in order; runs are not empty.
template <class Valid, class Invalid>
void for_each_utf8_run(std::string_view text, const Valid& valid, const Invalid& invalid) {
  size_t begin = 0;
  bool was_valid = true;
  const auto flush = [&](size_t end) {
    if (begin == end) return;
    const std::string_view run = text.substr(begin, end - begin);
    if (was_valid) {
      valid(run);
    } else {
      invalid(run);
    }
    begin = end;
  };
  for (size_t i = 0; i < text.size();) {
    const Utf8Char c = utf8_at(text, i);
    if (c.valid != was_valid) flush(i);
    was_valid = c.valid;
    i += c.length;
  }
  flush(text.size());
}

}  // namespace llmhost::text
