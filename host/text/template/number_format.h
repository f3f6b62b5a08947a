// One number or text by a format specification; what "%5.2f" and "{:>5.2f}" share.
#pragma once

#include <optional>
#include <string>

#include "text/template/value.h"

namespace llmhost::text::jinja {

struct FormatSpec {
  char32_t fill = U' ';
  char align = '\0';  // '<', '>', '^', '=' or none given
  char sign = '-';    // '+', ' ' or '-'
  bool alternate = false;
  char grouping = '\0';  // ',' or '_'
  Integer width = 0;
  std::optional<int> precision;
  char type = '\0';
};

// The digits without sign and width: types d x X o b e E f F g G % n.
std::string number_digits(const Value& value, const FormatSpec& spec, bool& negative);
std::string aligned_number(const Value& value, const FormatSpec& spec);
std::string aligned_text(const std::string& text, const FormatSpec& spec);

}  // namespace llmhost::text::jinja
