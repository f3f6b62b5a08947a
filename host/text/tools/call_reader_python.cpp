// Calls as Python writes them: [f(a=1), g(b="x")], one list or one call a line.
#include "text/tools/call_reader.h"
#include "text/tools/loose_value.h"

namespace llmhost::text {
namespace {

bool is_identifier(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
         static_cast<unsigned char>(c) >= 0x80;
}

// kNo without a step where none stands.
Got read_identifier(MarkReader& reader, std::string_view also, std::string& out) {
  reader.skip_space();
  size_t at = reader.at;
  const auto fits = [&](char c) { return is_identifier(c) || also.find(c) != std::string_view::npos; };
  while (at < reader.text.size() && fits(reader.text[at])) ++at;
  if (at == reader.text.size() && !reader.whole) return Got::kMore;
  if (at == reader.at) return Got::kNo;
  out.assign(reader.text.substr(reader.at, at - reader.at));
  reader.at = at;
  return Got::kYes;
}

// KEY= in front of a value, or the parameter that stands at this place in the schema.
Got read_key(const ToolSchemas& tools, const FoundCall& call, size_t index, MarkReader& reader,
             std::string& key) {
  MarkReader ahead = reader;
  Got got = read_identifier(ahead, "", key);
  if (got == Got::kMore) return got;
  if (got == Got::kYes) {
    ahead.skip_space();
    got = ahead.literal("=");
    if (got == Got::kMore) return got;
    if (got == Got::kYes) {
      reader = ahead;
      return got;
    }
  }
  key = tools.parameter_at(call.name, index);
  return key.empty() ? Got::kNo : Got::kYes;
}

Got read_call(const CallForm& form, MarkReader& reader, FoundCall& call) {
  if (const Got got = read_identifier(reader, ".-", call.name); got != Got::kYes) return got;
  if (const Got got = reader.literal("("); got != Got::kYes) return got;
  if (form.unmarked && !form.makes_call(call.name)) return Got::kNo;
  call.sure = form.makes_call(call.name);
  call.arguments = "{";
  for (size_t n = 0;; ++n) {
    reader.skip_space();
    if (const Got got = reader.literal(")"); got == Got::kYes) {
      break;
    } else if (got == Got::kMore) {
      return got;
    }
    if (n > 0) {
      if (const Got got = reader.literal(","); got != Got::kYes) return got;
      reader.skip_space();
      if (const Got got = reader.literal(")"); got == Got::kYes) break;
    }
    std::string key;
    Got got = read_key(form.tools, call, n, reader, key);
    if (got != Got::kYes) return got;
    got =
        append_json_member(call.arguments, key, [&] { return read_loose_value(reader, {}, call.arguments); });
    if (got != Got::kYes) return got;
  }
  call.arguments += '}';
  return Got::kYes;
}

}  // namespace

Got read_python_calls(const CallForm& form, MarkReader& reader, std::vector<FoundCall>& calls) {
  const ToolFormat& format = form.format;
  if (const Got got = skip_fence(reader); got != Got::kYes) return got;
  reader.skip_space();
  const Got list = reader.literal("[");
  if (list == Got::kMore) return list;
  MarkReader ahead = reader;
  for (;;) {
    const size_t before = calls.size();
    const Got got = read_call(form, ahead, calls.emplace_back());
    if (settle_attempt(got, before, ahead, reader, calls) != Got::kYes) return got;
    ahead.skip_space();
    if (list == Got::kYes) {
      const Got comma = ahead.literal(",");
      if (comma == Got::kMore) return comma;
      if (comma == Got::kYes) continue;
      if (const Got end = ahead.literal("]"); end != Got::kYes) return end;
      reader = ahead;
      ahead.skip_space();
    }
    if (format.call_close.empty()) return Got::kYes;
    const Got close = ahead.literal(format.call_close);
    if (close == Got::kYes) reader = ahead;
    if (close == Got::kMore) return close;
    if (close == Got::kYes || list == Got::kYes) return Got::kYes;
    if (ahead.ended()) return ahead.whole ? Got::kYes : Got::kMore;
  }
}

}  // namespace llmhost::text
