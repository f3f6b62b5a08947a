// A value as models write it, turned into JSON text: JSON, Python's literals, and objects with bare keys and
// strings between quotation marks of their own. What JSON itself allows keeps its meaning and its digits.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "text/tools/mark_reader.h"

namespace llmhost::text {

struct LooseMember {
  std::string key;    // decoded
  std::string value;  // JSON text
};

// Reads the value of a member whose decoded key it is given.
using LooseMemberReader = std::function<Got(const std::string& key)>;

// `quote`: a mark around strings without escapes, beside " and '; may be empty. Appends to `out`. With kMore
// that is how the value begins, whatever comes; with kNo the part in front of the damage, at which the reader
// stands. Where a value's first character decides nothing, nothing is appended.
Got read_loose_value(MarkReader& reader, std::string_view quote, std::string& out);
Got read_loose_object(MarkReader& reader, std::string_view quote, std::string& out);
// The members of the object that comes next, one by one.
Got read_loose_members(MarkReader& reader, std::string_view quote, const LooseMemberReader& member);

// A member of an object of which `out` ends with the beginning; `value` appends its value. Without any part
// of the value nothing is left of the member.
Got append_json_member(std::string& out, std::string_view key, const std::function<Got()>& value);
// A string without its closing mark; its bytes must be UTF-8.
void append_open_json_string(std::string& out, std::string_view text);
// JSON text of a string; its bytes must be UTF-8.
void append_json_string(std::string& out, std::string_view text);
// The decoded string of JSON text that is one string; nothing otherwise.
bool decode_json_string(std::string_view json, std::string& out);
std::string json_object(const std::vector<LooseMember>& members);
// `text` as JSON if all of it is one value.
bool whole_loose_value(std::string_view text, std::string& json);

}  // namespace llmhost::text
