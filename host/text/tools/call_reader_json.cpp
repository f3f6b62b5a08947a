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
class ObjectCall {
 public:
  ObjectCall(const CallForm& form, MarkReader& reader, FoundCall& call)
      : form_(form), reader_(reader), call_(call) {}

  Got read() {
    Got got = members(0);
    if (got == Got::kNo && has_arguments_) {  // whole ones: a brace too few is let pass
      reader_.at = behind_arguments_;
      got = Got::kYes;
    }
    if (got != Got::kYes || call_.sure) return got;
    const bool is_call = form_.makes_call(call_.name);
    if (!is_call && !form_.is_hidden(call_.name)) return Got::kNo;
    if (!settle_arguments(call_.arguments)) return Got::kNo;
    call_.sure = is_call;
    return Got::kYes;
  }

 private:
  Got members(int depth) {
    return read_loose_members(reader_, form_.format.quote,
                              [&, depth](const std::string& key) { return member(key, depth); });
  }

  Got member(const std::string& key, int depth) {
    reader_.skip_space();
    if (reader_.ended()) return reader_.whole ? Got::kNo : Got::kMore;
    const bool is_object = reader_.text[reader_.at] == '{';
    if (!call_.sure && is_one_of(key, kArgumentKeys)) return arguments(is_object);
    if (!call_.sure && key == "function" && is_object && depth == 0) return members(1);
    std::string value;
    const Got got = read_loose_value(reader_, form_.format.quote, value);
    if (got == Got::kYes && !call_.sure && is_one_of(key, kNameKeys)) decode_json_string(value, call_.name);
    return got;
  }

  Got arguments(bool is_object) {
    call_.sure = is_object && form_.makes_call(call_.name);
    call_.arguments.clear();
    const Got got = read_loose_value(reader_, form_.format.quote, call_.arguments);
    has_arguments_ = call_.sure && got == Got::kYes;
    behind_arguments_ = reader_.at;
    return got;
  }

  const CallForm& form_;
  MarkReader& reader_;
  FoundCall& call_;
  bool has_arguments_ = false;
  size_t behind_arguments_ = 0;
};

Got read_object_call(const CallForm& form, MarkReader& reader, std::vector<FoundCall>& calls) {
  return ObjectCall(form, reader, calls.emplace_back()).read();
}

// Behind '['.
Got read_array_calls(const CallForm& form, MarkReader& reader, std::vector<FoundCall>& calls) {
  MarkReader ahead = reader;
  for (;;) {
    ahead.skip_space();
    const size_t before = calls.size();
    Got got = read_object_call(form, ahead, calls);
    got = settle_attempt(got, before, ahead, reader, calls);
    if (got != Got::kYes) return got;
    ahead.skip_space();
    if (const Got comma = ahead.literal(","); comma != Got::kNo) {
      if (comma == Got::kMore) return comma;
      continue;
    }
    got = ahead.literal("]");
    if (got == Got::kYes) reader = ahead;
    return got;
  }
}

// Objects one after another, as far as they go.
Got read_more_objects(const CallForm& form, MarkReader& reader, std::vector<FoundCall>& calls) {
  for (;;) {
    MarkReader ahead = reader;
    ahead.skip_space();
    if (ahead.ended()) return reader.whole ? Got::kYes : Got::kMore;
    if (!form.format.separator.empty()) {
      const Got got = ahead.literal(form.format.separator);
      if (got == Got::kMore) return got;
      if (got == Got::kNo) return Got::kYes;
      ahead.skip_space();
    }
    if (ahead.ended() && !ahead.whole) return Got::kMore;
    if (ahead.ended() || ahead.text[ahead.at] != '{') return Got::kYes;
    const size_t before = calls.size();
    Got got = read_object_call(form, ahead, calls);
    got = settle_attempt(got, before, ahead, reader, calls);
    if (got == Got::kNo && calls.size() == before) return Got::kYes;
    if (got != Got::kYes) return got;
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

Got read_json_calls(const CallForm& form, MarkReader& reader, std::vector<FoundCall>& calls) {
  if (const Got got = skip_fence(reader); got != Got::kYes) return got;
  reader.skip_space();
  if (reader.ended()) return reader.whole ? Got::kNo : Got::kMore;
  Got got = Got::kNo;
  if (reader.text[reader.at] == '[') {
    ++reader.at;
    got = read_array_calls(form, reader, calls);
  } else {
    const size_t before = calls.size();
    MarkReader ahead = reader;
    got = read_object_call(form, ahead, calls);
    got = settle_attempt(got, before, ahead, reader, calls);
    if (got == Got::kYes) got = read_more_objects(form, reader, calls);
  }
  return got == Got::kYes ? close_call(form.format, reader) : got;
}

Got read_named_call(const CallForm& form, MarkReader& reader, FoundCall& call) {
  const ToolFormat& format = form.format;
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
  call.sure = form.makes_call(call.name);
  const Got got = read_loose_object(reader, format.quote, call.arguments);
  return got == Got::kYes ? close_call(format, reader) : got;
}

}  // namespace llmhost::text
