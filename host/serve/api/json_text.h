// JSON written by hand, appended to a string: what goes out once a token must not build a document first.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace llmhost::serve {

// With its quotes. Bytes that are not UTF-8 become U+FFFD.
void append_json_string(std::string& out, std::string_view text);
// Without quotes, for a string that is put together of pieces. Every piece must end with a whole character.
void append_json_escaped(std::string& out, std::string_view text);

void append_json_integer(std::string& out, int64_t value);
// The shortest text that reads back as the same number; what JSON cannot say becomes the nearest that it can.
void append_json_number(std::string& out, double value);

}  // namespace llmhost::serve
