// Calls whose arguments stand between tags; the tools' schemas say which values are no strings.
#include <algorithm>

#include "text/tools/call_reader.h"
#include "text/tools/loose_value.h"

namespace llmhost::text {
namespace {

constexpr size_t kMaxAttributes = 256;
constexpr int kMaxDepth = 32;

// Models put values on lines of their own: one line break on either side is no part of the value.
std::string_view without_line_breaks(std::string_view text) {
  if (text.starts_with("\r\n")) {
    text.remove_prefix(2);
  } else if (text.starts_with('\n')) {
    text.remove_prefix(1);
  }
  if (text.ends_with("\r\n")) {
    text.remove_suffix(2);
  } else if (text.ends_with('\n')) {
    text.remove_suffix(1);
  }
  return text;
}

std::string_view without_cdata(std::string_view text) {
  constexpr std::string_view kOpen = "<![CDATA[", kClose = "]]>";
  const std::string_view inner = trimmed(text);
  if (!inner.starts_with(kOpen) || !inner.ends_with(kClose) || inner.size() < kOpen.size() + kClose.size())
    return text;
  return inner.substr(kOpen.size(), inner.size() - kOpen.size() - kClose.size());
}

bool says(std::string_view attributes, const std::string& what) {
  return !what.empty() && attributes.find(what) != std::string_view::npos;
}

std::string value_of(const ToolFormat& format, const ToolSchemas& tools, const std::string& tool,
                     const std::string& key, std::string_view attributes, std::string_view text) {
  std::string json;
  if (says(attributes, format.string_attribute)) {
    append_json_string(json, text);
    return json;
  }
  text = without_line_breaks(text);
  const std::string_view plain = without_cdata(text);
  if (plain.data() == text.data() && says(attributes, format.json_attribute) && whole_loose_value(text, json))
    return json;
  return tools.typed(tool, key, plain);
}

// The value ends at a closing mark behind which the call goes on or ends: the value may contain the mark.
Got read_text_value(const ToolFormat& format, MarkReader& reader, std::string& value) {
  const std::vector<std::string> marks = {format.param_close};
  size_t from = reader.at;
  for (;;) {
    const MarkPlace place = find_mark(reader.text, from, marks, reader.whole);
    if (place.got != Got::kYes) return place.got;
    MarkReader behind{reader.text, place.at + place.length, reader.whole};
    behind.skip_space();
    for (const std::string* next : {&format.param_open, &format.call_close}) {
      MarkReader ahead = behind;
      const Got got = ahead.literal(*next);
      if (got == Got::kMore) return got;
      if (got == Got::kNo) continue;
      value.assign(reader.text.substr(reader.at, place.at - reader.at));
      reader.at = behind.at;
      return Got::kYes;
    }
    from = place.at + 1;
  }
}

// The name, and steps over the mark behind it unless the mark belongs to what follows.
Got read_name(const ToolFormat& format, MarkReader& reader, std::string& name) {
  std::vector<std::string> ends = format.name_ends;
  const size_t own = ends.size();
  for (const std::string& mark : {format.param_open, format.call_close})
    if (!mark.empty()) ends.push_back(mark);
  // White space before a name is let pass, where a line break ends names too.
  reader.skip_space();
  const MarkPlace place = find_mark(reader.text, reader.at, ends, reader.whole);
  name.assign(reader.text.substr(reader.at, place.at - reader.at));
  if (place.got != Got::kYes) return trimmed(name).empty() || is_name(trimmed(name)) ? place.got : Got::kNo;
  reader.at = place.which < own ? place.at + place.length : place.at;
  if (!settle_name(format, name)) return Got::kNo;
  std::string attributes;
  if (format.name_head_end.empty()) return Got::kYes;
  const Got got = reader.until(format.name_head_end, attributes);
  return got == Got::kYes && attributes.size() > kMaxAttributes ? Got::kNo : got;
}

}  // namespace

Got read_tagged_call(const ToolFormat& format, const ToolSchemas& tools, MarkReader& reader,
                     FoundCall& call) {
  if (const Got got = read_name(format, reader, call.name); got != Got::kYes) return got;
  std::vector<LooseMember> members;
  for (;;) {
    reader.skip_space();
    const Got close = reader.literal(format.call_close);
    if (close == Got::kMore) return close;
    if (close == Got::kYes) break;
    if (const Got open = reader.literal(format.param_open); open != Got::kYes) return open;
    LooseMember member;
    std::string attributes, value;
    if (const Got got = reader.until(format.key_end, member.key); got != Got::kYes) return got;
    member.key = std::string(trimmed(member.key));
    if (member.key.empty() || member.key.size() > kMaxAttributes) return Got::kNo;
    if (!format.head_end.empty()) {
      if (const Got got = reader.until(format.head_end, attributes); got != Got::kYes) return got;
      if (attributes.size() > kMaxAttributes) return Got::kNo;
    }
    if (const Got got = read_text_value(format, reader, value); got != Got::kYes) return got;
    member.value = value_of(format, tools, call.name, member.key, attributes, value);
    members.push_back(std::move(member));
  }
  call.arguments = json_object(members);
  return Got::kYes;
}

namespace {

class TreeReader {
 public:
  TreeReader(const ToolFormat& format, const ToolSchemas& tools, const std::string& tool, MarkReader& reader)
      : format_(format), tools_(tools), tool_(tool), reader_(reader) {}

  // Behind <tag_mark>"<": KEY> and all up to its closing tag.
  Got element(const std::string& top, std::string& key, std::string& value, int depth) {
    if (depth > kMaxDepth) return Got::kNo;
    if (const Got got = reader_.until(std::string(">"), key); got != Got::kYes) return got;
    if (key.empty() || key.size() > kMaxAttributes || key.front() == '/') return Got::kNo;
    std::string text;
    if (const Got got = reader_.until(format_.tag_mark + "<", text); got != Got::kYes) return got;
    const Got leaf = reader_.literal("/" + key + ">");
    if (leaf == Got::kMore) return leaf;
    if (leaf == Got::kYes) {
      value = tools_.typed(depth == 0 ? tool_ : std::string(), depth == 0 ? key : top, text);
      return leaf;
    }
    return trimmed(text).empty() ? children(depth == 0 ? key : top, key, value, depth) : Got::kNo;
  }

 private:
  Got children(const std::string& top, const std::string& key, std::string& value, int depth) {
    std::vector<LooseMember> members;
    for (;;) {
      LooseMember member;
      if (const Got got = element(top, member.key, member.value, depth + 1); got != Got::kYes) return got;
      members.push_back(std::move(member));
      reader_.skip_space();
      if (const Got got = reader_.literal(format_.tag_mark + "<"); got != Got::kYes) return got;
      const Got close = reader_.literal("/" + key + ">");
      if (close == Got::kMore) return close;
      if (close == Got::kYes) break;
    }
    const auto is_item = [](const LooseMember& member) { return member.key == "item"; };
    if (!std::all_of(members.begin(), members.end(), is_item)) {
      value = json_object(members);
      return Got::kYes;
    }
    value = "[";
    for (const LooseMember& member : members) value += (value.size() > 1 ? "," : "") + member.value;
    value += ']';
    return Got::kYes;
  }

  const ToolFormat& format_;
  const ToolSchemas& tools_;
  const std::string& tool_;
  MarkReader& reader_;
};

}  // namespace

Got read_tree_call(const ToolFormat& format, const ToolSchemas& tools, MarkReader& reader, FoundCall& call) {
  if (const Got got = read_name(format, reader, call.name); got != Got::kYes) return got;
  std::vector<LooseMember> members;
  TreeReader tree(format, tools, call.name, reader);
  for (;;) {
    reader.skip_space();
    const Got close = reader.literal(format.call_close);
    if (close == Got::kMore) return close;
    if (close == Got::kYes) break;
    if (const Got open = reader.literal(format.tag_mark + "<"); open != Got::kYes) return open;
    LooseMember member;
    if (const Got got = tree.element({}, member.key, member.value, 0); got != Got::kYes) return got;
    members.push_back(std::move(member));
  }
  call.arguments = json_object(members);
  return Got::kYes;
}

}  // namespace llmhost::text
