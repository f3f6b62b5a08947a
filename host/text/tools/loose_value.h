// A value as models write it, turned into JSON text: JSON, Python's literals, and objects with bare keys and
// strings between quotation marks of their own. What JSON itself allows keeps its meaning and its digits.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "text/tools/mark_reader.h"

namespace llmhost::text {

struct LooseMember {
  std::string key;    // decoded
  std::string value;  // JSON text
};

// `quote`: a mark around strings without escapes, beside " and '; may be empty. Appends to `out`; with kNo
// and kMore what was appended has no meaning.
Got read_loose_value(MarkReader& reader, std::string_view quote, std::string& out);
// The members of the object that comes next.
Got read_loose_object(MarkReader& reader, std::string_view quote, std::vector<LooseMember>& members);

// JSON text of a string; its bytes must be UTF-8.
void append_json_string(std::string& out, std::string_view text);
// The decoded string of JSON text that is one string; nothing otherwise.
bool decode_json_string(std::string_view json, std::string& out);
std::string json_object(const std::vector<LooseMember>& members);
// `text` as JSON if all of it is one value.
bool whole_loose_value(std::string_view text, std::string& json);

}  // namespace llmhost::text
