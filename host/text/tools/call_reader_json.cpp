// Calls whose arguments are one JSON object: {"name": …, "arguments": {…}}, and NAME<mark>{…}.
#include <algorithm>
#include <array>

#include "text/tools/call_reader.h"
#include "text/tools/loose_value.h"

namespace llmhost::text {
namespace {

constexpr std::array<std::string_view, 3> kNameKeys = {"name", "tool_name", "function"};
constexpr std::array<std::string_view, 2> kArgumentKeys = {"arguments", "parameters"};

bool is_one_of(std::string_view key, const auto& keys) {
  return std::find(keys.begin(), keys.end(), key) != keys.end();
}

// {"name": "f", "arguments": {…}}, also inside {"type": "function", "function": {…}}.
bool call_of(const std::vector<LooseMember>& members, FoundCall& call, int depth = 0) {
  bool named = false;
  for (const LooseMember& member : members) {
    if (is_one_of(member.key, kArgumentKeys)) call.arguments = member.value;
    if (!is_one_of(member.key, kNameKeys)) continue;
    if (decode_json_string(member.value, call.name)) {
      named = true;
    } else if (member.key == "function" && depth == 0) {
      MarkReader reader{member.value, 0, true};
      std::vector<LooseMember> inner;
      if (read_loose_object(reader, {}, inner) != Got::kYes) return false;
      return call_of(inner, call, 1);
    }
  }
  return named && is_name(call.name) && settle_arguments(call.arguments);
}

Got read_object_call(const ToolFormat& format, MarkReader& reader, std::vector<FoundCall>& calls) {
  std::vector<LooseMember> members;
  if (const Got got = read_loose_object(reader, format.quote, members); got != Got::kYes) return got;
  FoundCall call;
  if (!call_of(members, call)) return Got::kNo;
  calls.push_back(std::move(call));
  return Got::kYes;
}

// Behind '['.
Got read_array_calls(const ToolFormat& format, MarkReader& reader, std::vector<FoundCall>& calls) {
  for (;;) {
    reader.skip_space();
    if (const Got got = read_object_call(format, reader, calls); got != Got::kYes) return got;
    reader.skip_space();
    if (const Got comma = reader.literal(","); comma != Got::kNo) {
      if (comma == Got::kMore) return comma;
      continue;
    }
    return reader.literal("]");
  }
}

// Objects one after another, as far as they go.
Got read_more_objects(const ToolFormat& format, MarkReader& reader, std::vector<FoundCall>& calls) {
  for (;;) {
    MarkReader ahead = reader;
    ahead.skip_space();
    if (ahead.ended()) return reader.whole ? Got::kYes : Got::kMore;
    if (!format.separator.empty()) {
      const Got got = ahead.literal(format.separator);
      if (got == Got::kMore) return got;
      if (got == Got::kNo) return Got::kYes;
      ahead.skip_space();
    }
    if (ahead.ended() && !ahead.whole) return Got::kMore;
    if (ahead.ended() || ahead.text[ahead.at] != '{') return Got::kYes;
    const size_t before = calls.size();
    const Got got = read_object_call(format, ahead, calls);
    if (got == Got::kMore) return got;
    if (got == Got::kNo) {
      calls.resize(before);
      return Got::kYes;
    }
    reader = ahead;
  }
}

// The closing fence and the closing mark, where they stand.
Got close_call(const ToolFormat& format, MarkReader& reader) {
  MarkReader ahead = reader;
  ahead.skip_space();
  const Got fence = ahead.literal("```");
  if (fence == Got::kMore) return fence;
  if (fence == Got::kYes) reader = ahead;
  if (format.call_close.empty()) return Got::kYes;
  ahead = reader;
  ahead.skip_space();
  const Got close = ahead.literal(format.call_close);
  if (close == Got::kYes) reader = ahead;
  return close == Got::kMore ? close : Got::kYes;
}

}  // namespace

Got read_json_calls(const ToolFormat& format, MarkReader& reader, std::vector<FoundCall>& calls) {
  if (const Got got = skip_fence(reader); got != Got::kYes) return got;
  reader.skip_space();
  if (reader.ended()) return reader.whole ? Got::kNo : Got::kMore;
  Got got = Got::kNo;
  if (reader.text[reader.at] == '[') {
    ++reader.at;
    got = read_array_calls(format, reader, calls);
  } else {
    got = read_object_call(format, reader, calls);
    if (got == Got::kYes) got = read_more_objects(format, reader, calls);
  }
  return got == Got::kYes ? close_call(format, reader) : got;
}

Got read_named_call(const ToolFormat& format, MarkReader& reader, FoundCall& call) {
  if (!format.kind_mark.empty() && reader.literal(format.kind_mark) == Got::kMore) return Got::kMore;
  std::vector<std::string> ends = format.name_ends;
  if (!format.id_mark.empty()) ends.push_back(format.id_mark);
  size_t which = 0;
  const MarkPlace place = find_mark(reader.text, reader.at, ends, reader.whole);
  call.name.assign(reader.text.substr(reader.at, place.at - reader.at));
  if (place.got != Got::kYes)
    return trimmed(call.name).empty() || is_name(trimmed(call.name)) ? place.got : Got::kNo;
  reader.at = place.at + place.length;
  which = place.which;
  if (!settle_name(format, call.name)) return Got::kNo;
  if (which == format.name_ends.size()) {
    std::string id;
    if (const Got got = reader.until(format.name_ends, id, &which); got != Got::kYes) return got;
    if (!is_name(trimmed(id))) return Got::kNo;
  }
  if (format.name_ends[which] == "{") --reader.at;
  if (const Got got = skip_fence(reader); got != Got::kYes) return got;
  std::vector<LooseMember> members;
  if (const Got got = read_loose_object(reader, format.quote, members); got != Got::kYes) return got;
  call.arguments = json_object(members);
  return close_call(format, reader);
}

}  // namespace llmhost::text
