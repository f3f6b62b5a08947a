// Case mappings from one character to several.
#pragma once

#include <string_view>

namespace llmhost::text::jinja {

struct SpecialCase {
  char32_t code;
  std::u32string_view upper;
  std::u32string_view title;
};

const SpecialCase* special_case(char32_t code);  // null for the characters that map to one

}  // namespace llmhost::text::jinja
