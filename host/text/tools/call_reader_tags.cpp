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

// As much of a string's text as is part of it, whatever comes behind it; nothing where it may be character
// data.
std::string_view sure_part(std::string_view text) {
  constexpr std::string_view kOpen = "<![CDATA[";
  const std::string_view inner = trimmed(text);
  if (inner.starts_with(kOpen) || kOpen.starts_with(inner.substr(0, kOpen.size()))) return {};
  if (text.starts_with("\r\n")) {
    text.remove_prefix(2);
  } else if (text.starts_with('\n')) {
    text.remove_prefix(1);
  }
  const size_t end = text.find_last_not_of("\r\n");
  return text.substr(0, end + 1);
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
// With kMore `value` is the part that is surely before that mark.
Got read_text_value(const ToolFormat& format, MarkReader& reader, std::string& value) {
  const std::vector<std::string> marks = {format.param_close};
  size_t from = reader.at;
  for (;;) {
    const MarkPlace place = find_mark(reader.text, from, marks, reader.whole);
    value.assign(reader.text.substr(reader.at, place.at - reader.at));
    if (place.got != Got::kYes) return place.got;
    MarkReader behind{reader.text, place.at + place.length, reader.whole};
    behind.skip_space();
    for (const std::string* next : {&format.param_open, &format.call_close}) {
      MarkReader ahead = behind;
      const Got got = ahead.literal(*next);
      if (got == Got::kMore) return got;
      if (got == Got::kNo) continue;
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

// Behind param_open: the key, its attributes and the value.
Got read_parameter(const CallForm& form, MarkReader& reader, FoundCall& call) {
  const ToolFormat& format = form.format;
  std::string key, attributes;
  if (const Got got = reader.until(format.key_end, key); got != Got::kYes) return got;
  key = std::string(trimmed(key));
  if (key.empty() || key.size() > kMaxAttributes) return Got::kNo;
  if (!format.head_end.empty()) {
    if (const Got got = reader.until(format.head_end, attributes); got != Got::kYes) return got;
    if (attributes.size() > kMaxAttributes) return Got::kNo;
  }
  return append_json_member(call.arguments, key, [&] {
    std::string text;
    const Got got = read_text_value(format, reader, text);
    if (got == Got::kYes) {
      call.arguments += value_of(format, form.tools, call.name, key, attributes, text);
      return got;
    }
    const bool is_raw = says(attributes, format.string_attribute);
    if (!is_raw && (says(attributes, format.json_attribute) || !form.tools.is_string(call.name, key)))
      return got;
    const std::string_view part = is_raw ? std::string_view(text) : sure_part(text);
    if (!part.empty()) append_open_json_string(call.arguments, part);
    return got;
  });
}

}  // namespace

Got read_tagged_call(const CallForm& form, MarkReader& reader, FoundCall& call) {
  const ToolFormat& format = form.format;
  if (const Got got = read_name(format, reader, call.name); got != Got::kYes) return got;
  call.sure = form.makes_call(call.name);
  call.arguments = "{";
  for (;;) {
    reader.skip_space();
    const Got close = reader.literal(format.call_close);
    if (close == Got::kMore) return close;
    if (close == Got::kYes) break;
    if (const Got open = reader.literal(format.param_open); open != Got::kYes) return open;
    if (const Got got = read_parameter(form, reader, call); got != Got::kYes) return got;
  }
  call.arguments += '}';
  return Got::kYes;
}

namespace {

class TreeReader {
 public:
  TreeReader(const CallForm& form, const std::string& tool, MarkReader& reader)
      : tag_mark_(form.format.tag_mark), tools_(form.tools), tool_(tool), reader_(reader) {}

  // Behind <tag_mark>"<": KEY> and all up to its closing tag, as a member of `object`.
  Got argument(std::string& object) {
    std::string key;
    if (const Got got = name(key); got != Got::kYes) return got;
    return append_json_member(object, key, [&] { return content(key, key, object, 0); });
  }

 private:
  Got name(std::string& key) {
    if (const Got got = reader_.until(std::string(">"), key); got != Got::kYes) return got;
    return key.empty() || key.size() > kMaxAttributes || key.front() == '/' ? Got::kNo : Got::kYes;
  }

  // What stands between an element's tags; `top` is the argument that it is a part of.
  Got content(const std::string& top, const std::string& key, std::string& out, int depth) {
    if (depth > kMaxDepth) return Got::kNo;
    const std::string mark = tag_mark_ + "<";
    const MarkPlace place = find_mark(reader_.text, reader_.at, {&mark, 1}, reader_.whole);
    const std::string_view text = reader_.text.substr(reader_.at, place.at - reader_.at);
    const bool is_blank = trimmed(text).empty();
    Got leaf = place.got;
    if (leaf == Got::kYes) {
      reader_.at = place.at + place.length;
      leaf = reader_.literal("/" + key + ">");
    }
    const std::string tool = depth == 0 ? tool_ : std::string();
    if (leaf == Got::kYes) {
      out += tools_.typed(tool, top, text);
    } else if (!is_blank && tools_.is_string(tool, top)) {
      append_open_json_string(out, text);
    }
    if (leaf != Got::kNo) return leaf;
    if (is_blank && place.got == Got::kYes) return children(top, key, out, depth);
    reader_.at = place.at;
    return leaf;
  }

  // Behind the first child's <tag_mark>"<". Whether they are items or members the last one tells.
  Got children(const std::string& top, const std::string& key, std::string& out, int depth) {
    std::vector<LooseMember> members;
    for (;;) {
      LooseMember member;
      if (const Got got = name(member.key); got != Got::kYes) return got;
      if (const Got got = content(top, member.key, member.value, depth + 1); got != Got::kYes) return got;
      members.push_back(std::move(member));
      reader_.skip_space();
      if (const Got got = reader_.literal(tag_mark_ + "<"); got != Got::kYes) return got;
      const Got close = reader_.literal("/" + key + ">");
      if (close == Got::kMore) return close;
      if (close == Got::kYes) break;
    }
    const auto is_item = [](const LooseMember& member) { return member.key == "item"; };
    if (!std::all_of(members.begin(), members.end(), is_item)) {
      out += json_object(members);
      return Got::kYes;
    }
    out += '[';
    for (size_t i = 0; i < members.size(); ++i) out += (i > 0 ? "," : "") + members[i].value;
    out += ']';
    return Got::kYes;
  }

  const std::string& tag_mark_;
  const ToolSchemas& tools_;
  const std::string& tool_;
  MarkReader& reader_;
};

}  // namespace

Got read_tree_call(const CallForm& form, MarkReader& reader, FoundCall& call) {
  const ToolFormat& format = form.format;
  if (const Got got = read_name(format, reader, call.name); got != Got::kYes) return got;
  call.sure = form.makes_call(call.name);
  call.arguments = "{";
  TreeReader tree(form, call.name, reader);
  for (;;) {
    reader.skip_space();
    const Got close = reader.literal(format.call_close);
    if (close == Got::kMore) return close;
    if (close == Got::kYes) break;
    if (const Got open = reader.literal(format.tag_mark + "<"); open != Got::kYes) return open;
    if (const Got got = tree.argument(call.arguments); got != Got::kYes) return got;
  }
  call.arguments += '}';
  return Got::kYes;
}

}  // namespace llmhost::text
