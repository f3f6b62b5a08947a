// Text operations that both filters and string methods use, as Python defines them.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/template/value.h"

namespace llmhost::text::jinja {

// align: '<', '>' or '^' (str.center's own rounding); width in characters.
std::string pad(std::string_view text, Integer width, char32_t fill, char align);
std::string replace_text(std::string_view text, std::string_view old, std::string_view with, Integer count);
std::vector<std::string> split_lines(std::string_view text, bool keep_ends);
std::vector<std::string> split_space(std::string_view text, Integer max, bool from_right);
std::vector<std::string> split_on(std::string_view text, std::string_view separator, Integer max,
                                  bool from_right);
std::string strip_markup(
    std::string_view text);  // removes tags and comments, joins white space, resolves entities
std::string url_quote(std::string_view text, bool for_query);
std::vector<std::string> wrap_line(std::string_view line, size_t width, bool break_words, bool break_hyphens);

std::optional<Integer> parse_integer(std::string_view text,
                                     int base);           // as int(text, base); Fault when too big
std::optional<double> parse_real(std::string_view text);  // as float(text)

}  // namespace llmhost::text::jinja
