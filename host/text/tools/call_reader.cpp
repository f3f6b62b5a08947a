#include "text/tools/call_reader.h"

#include <algorithm>

#include "text/tools/loose_value.h"

namespace llmhost::text {
namespace {

Got open_call(const ToolFormat& format, MarkReader& reader) {
  Got all = Got::kNo;
  for (const std::string& mark : format.call_opens) {
    const Got got = reader.literal(mark);
    if (got == Got::kYes) return got;
    if (got == Got::kMore) all = got;
  }
  return all;
}

// Behind a call's opening mark.
Got read_one(const CallForm& form, MarkReader& reader, std::vector<FoundCall>& calls) {
  if (form.format.layout == ToolLayout::kJson) return read_json_calls(form, reader, calls);
  if (form.format.layout == ToolLayout::kPython) return read_python_calls(form, reader, calls);
  const size_t before = calls.size();
  FoundCall& call = calls.emplace_back();
  MarkReader ahead = reader;
  Got got = Got::kNo;
  if (form.format.layout == ToolLayout::kNamed) got = read_named_call(form, ahead, call);
  if (form.format.layout == ToolLayout::kTagged) got = read_tagged_call(form, ahead, call);
  if (form.format.layout == ToolLayout::kTree) got = read_tree_call(form, ahead, call);
  return settle_attempt(got, before, ahead, reader, calls);
}

// A closing mark that may be absent. kMore only where it may still come.
Got close_if_there(const std::string& mark, MarkReader& reader) {
  if (mark.empty()) return Got::kYes;
  MarkReader ahead = reader;
  ahead.skip_space();
  const Got got = ahead.literal(mark);
  if (got == Got::kYes) reader = ahead;
  return got == Got::kMore ? got : Got::kYes;
}

// Behind wrap_open: calls until something else comes.
Got read_wrapped(const CallForm& form, MarkReader& reader, std::vector<FoundCall>& calls) {
  for (;;) {
    MarkReader ahead = reader;
    ahead.skip_space();
    const Got open = open_call(form.format, ahead);
    if (open == Got::kMore) return open;
    if (open == Got::kNo) break;
    const size_t before = calls.size();
    const Got got = read_one(form, ahead, calls);
    if (got == Got::kNo && calls.size() == before) return got;
    reader = ahead;
    if (got != Got::kYes) return got;
  }
  return calls.empty() ? Got::kNo : close_if_there(form.format.wrap_close, reader);
}

}  // namespace

bool CallForm::is_hidden(std::string_view name) const {
  return std::find(format.skip_names.begin(), format.skip_names.end(), name) != format.skip_names.end();
}

bool CallForm::makes_call(std::string_view name) const {
  return is_name(name) && !is_hidden(name) && (!unmarked || tools.knows(name));
}

Got settle_attempt(Got got, size_t calls_before, const MarkReader& ahead, MarkReader& reader,
                   std::vector<FoundCall>& calls) {
  const auto is_none = [](const FoundCall& call) { return !call.is_told(); };
  const auto first = calls.begin() + static_cast<std::ptrdiff_t>(calls_before);
  if (got == Got::kNo) calls.erase(std::remove_if(first, calls.end(), is_none), calls.end());
  if (got != Got::kNo || calls.size() > calls_before) reader = ahead;
  return got;
}

bool settle_name(const ToolFormat& format, std::string& name) {
  name = std::string(trimmed(name));
  if (!format.name_prefix.empty() && name.starts_with(format.name_prefix))
    name.erase(0, format.name_prefix.size());
  if (format.name_number) {
    const size_t colon = name.rfind(':');
    if (colon != std::string::npos && name.find_first_not_of("0123456789", colon + 1) == std::string::npos)
      name.erase(colon);
  }
  return is_name(name);
}

bool settle_arguments(std::string& json) {
  if (json == "null" || json.empty()) json = "{}";
  std::string text;
  if (decode_json_string(json, text)) {
    std::string inner;
    if (trimmed(text).empty()) inner = "{}";
    if (inner.empty() && !whole_loose_value(text, inner)) return false;
    json = inner;
  }
  return json.front() == '{';
}

Got skip_fence(MarkReader& reader) {
  MarkReader ahead = reader;
  ahead.skip_space();
  const Got fence = ahead.literal("```");
  if (fence != Got::kYes) return fence == Got::kMore ? fence : Got::kYes;
  for (const std::string_view word : {"json", "python", "tool_code"})
    if (const Got got = ahead.literal(word); got != Got::kNo) {
      if (got == Got::kMore) return got;
      break;
    }
  reader = ahead;
  return Got::kYes;
}

Got read_calls(const ToolFormat& format, const ToolSchemas& tools, MarkReader& reader,
               std::vector<FoundCall>& calls) {
  CallForm form{format, tools};
  Got got = Got::kNo;
  const Got wrap = format.wrap_open.empty() ? Got::kNo : reader.literal(format.wrap_open);
  if (wrap == Got::kMore) return wrap;
  if (wrap == Got::kYes) {
    got = read_wrapped(form, reader, calls);
  } else {
    const Got open = open_call(format, reader);
    if (open == Got::kMore) return open;
    if (open == Got::kYes) {
      got = read_one(form, reader, calls);
      if (got == Got::kYes) got = close_if_there(format.wrap_close, reader);
    } else if (format.bare) {
      form.unmarked = true;
      got = read_one(form, reader, calls);
    }
  }
  if (got == Got::kYes) std::erase_if(calls, [](const FoundCall& call) { return !call.is_told(); });
  return got;
}

}  // namespace llmhost::text
