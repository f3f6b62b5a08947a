// Methods of str.
#include <algorithm>
#include <unordered_map>

#include "text/template/operators.h"
#include "text/template/text_tools.h"
#include "text/template/unicode.h"

namespace llmhost::text::jinja {
namespace {

using Method = Value (*)(Runtime&, const std::string& self, Arguments&);

const std::string& text_argument(const Value& value, std::string_view method) {
  if (value.is_undefined()) fail("{}", value.undefined_message());
  if (!value.is_string()) fail("str.{}() needs a string, not {}", method, value.type_name());
  return value.text();
}

Value strings(const std::vector<std::string>& parts) {
  Values out;
  out.reserve(parts.size());
  for (const std::string& part : parts) out.push_back(text_value(part));
  return Value::list(std::move(out));
}

template <std::string (*kConvert)(std::string_view)>
Value convert(Runtime&, const std::string& self, Arguments& arguments) {
  arguments.take("str method", {});
  return text_value(kConvert(self));
}

template <bool (*kTest)(char32_t), bool kEmpty>
Value all_characters(Runtime&, const std::string& self, Arguments&) {
  const std::u32string codes = decode(self);
  return Value::boolean(codes.empty() ? kEmpty : std::all_of(codes.begin(), codes.end(), kTest));
}

bool is_ascii_char(char32_t code) {
  return code < 0x80;
}
bool is_alphanumeric(char32_t code) {
  return is_alpha(code) || is_numeric(code);
}

template <bool kUpper>
Value has_case(Runtime&, const std::string& self, Arguments&) {
  bool cased = false;
  for (char32_t code : decode(self)) {
    if (is_title(code) || (kUpper ? is_lower(code) : is_upper(code))) return Value::boolean(false);
    cased |= kUpper ? is_upper(code) : is_lower(code);
  }
  return Value::boolean(cased);
}

Value is_title_text(Runtime&, const std::string& self, Arguments&) {
  bool cased = false, inside = false;
  for (char32_t code : decode(self)) {
    const bool capital = is_upper(code) || is_title(code);
    if (capital ? inside : (is_lower(code) && !inside)) return Value::boolean(false);
    inside = capital || is_lower(code);
    cased |= inside;
  }
  return Value::boolean(cased);
}

Value is_identifier(Runtime&, const std::string& self, Arguments&) {
  const std::u32string codes = decode(self);
  return Value::boolean(!codes.empty() && is_identifier_start(codes[0]) &&
                        std::all_of(codes.begin(), codes.end(), is_identifier_part));
}

template <char kAlign>
Value justify(Runtime&, const std::string& self, Arguments& arguments) {
  const auto given = arguments.take("justify", {"width", "fillchar"}, 1);
  const std::string fill = given[1] ? text_argument(*given[1], "ljust") : " ";
  if (char_count(fill) != 1) fail("The fill character must be exactly one character long");
  return text_value(pad(self, python_index(*given[0], "width"), first_char(fill), kAlign));
}

Value zero_fill(Runtime&, const std::string& self, Arguments& arguments) {
  const Integer width = python_index(*arguments.take("zfill", {"width"}, 1)[0], "width");
  const size_t sign = !self.empty() && (self[0] == '-' || self[0] == '+') ? 1 : 0;
  return text_value(self.substr(0, sign) +
                    pad(std::string_view(self).substr(sign), width - static_cast<Integer>(sign), '0', '>'));
}

// The byte range that the optional start and end (in characters) of find, count, startswith name.
struct Window {
  size_t begin = 0, end = 0;
  bool valid = true;
};
Window window(const std::string& self, const std::optional<Value>& start, const std::optional<Value>& stop) {
  Window out{0, self.size(), true};
  const bool has_start = start && !start->is_none();
  const bool has_stop = stop && !stop->is_none();
  if (!has_start && !has_stop) return out;
  const auto length = static_cast<Integer>(char_count(self));
  const auto place = [&](const Value& value) {
    const Integer at = python_index(value, "index");
    return at < 0 ? std::max<Integer>(0, at + length) : at;
  };
  const Integer from = has_start ? place(*start) : 0;
  const Integer to = has_stop ? std::min(place(*stop), length) : length;
  out.valid = from <= to;
  if (!out.valid) return out;
  out.begin = byte_offset(self, static_cast<size_t>(from));
  out.end = byte_offset(self, static_cast<size_t>(to));
  return out;
}

template <bool kRight, bool kRaise>
Value find(Runtime&, const std::string& self, Arguments& arguments) {
  const auto given = arguments.take("find", {"sub", "start", "end"}, 1);
  const std::string& sub = text_argument(*given[0], "find");
  const Window range = window(self, given[1], given[2]);
  size_t found = std::string::npos;
  if (range.valid) {
    const std::string_view part = std::string_view(self).substr(range.begin, range.end - range.begin);
    found = kRight ? part.rfind(sub) : part.find(sub);
  }
  if (found != std::string::npos)
    return Value::integer(
        static_cast<Integer>(char_count(std::string_view(self).substr(0, range.begin + found))));
  if (kRaise) fail("substring not found");
  return Value::integer(-1);
}

Value count(Runtime&, const std::string& self, Arguments& arguments) {
  const auto given = arguments.take("count", {"sub", "start", "end"}, 1);
  const std::string& sub = text_argument(*given[0], "count");
  const Window range = window(self, given[1], given[2]);
  if (!range.valid) return Value::integer(0);
  const std::string_view part = std::string_view(self).substr(range.begin, range.end - range.begin);
  if (sub.empty()) return Value::integer(static_cast<Integer>(char_count(part)) + 1);
  Integer number = 0;
  for (size_t at = part.find(sub); at != std::string_view::npos; at = part.find(sub, at + sub.size()))
    ++number;
  return Value::integer(number);
}

template <bool kEnd>
Value has_affix(Runtime&, const std::string& self, Arguments& arguments) {
  const auto given = arguments.take(kEnd ? "endswith" : "startswith", {"affix", "start", "end"}, 1);
  const Window range = window(self, given[1], given[2]);
  if (!range.valid) return Value::boolean(false);
  const std::string_view part = std::string_view(self).substr(range.begin, range.end - range.begin);
  const auto matches = [&](const Value& affix) {
    const std::string& text = text_argument(affix, kEnd ? "endswith" : "startswith");
    return kEnd ? part.ends_with(text) : part.starts_with(text);
  };
  if (!given[0]->is(Kind::kTuple)) return Value::boolean(matches(*given[0]));
  const Values& all = given[0]->items();
  return Value::boolean(std::any_of(all.begin(), all.end(), matches));
}

Value join(Runtime&, const std::string& self, Arguments& arguments) {
  const auto list = iterate(*arguments.take("join", {"iterable"}, 1)[0]);
  size_t total = 0;
  for (const Value& item : list->items) total += text_argument(item, "join").size() + self.size();
  Meter::expect_bytes(total);
  std::string out;
  for (size_t i = 0; i < list->items.size(); ++i) out += (i != 0 ? self : "") + list->items[i].text();
  return text_value(std::move(out));
}

template <bool kRight>
Value partition(Runtime&, const std::string& self, Arguments& arguments) {
  const std::string separator = text_argument(*arguments.take("partition", {"sep"}, 1)[0], "partition");
  if (separator.empty()) fail("empty separator");
  const size_t found = kRight ? self.rfind(separator) : self.find(separator);
  if (found == std::string::npos)
    return kRight ? Value::tuple({text_value(""), text_value(""), text_value(self)})
                  : Value::tuple({text_value(self), text_value(""), text_value("")});
  return Value::tuple({text_value(self.substr(0, found)), text_value(separator),
                       text_value(self.substr(found + separator.size()))});
}

template <bool kEnd>
Value remove_affix(Runtime&, const std::string& self, Arguments& arguments) {
  const std::string affix = text_argument(*arguments.take("remove affix", {"affix"}, 1)[0], "removeprefix");
  if (!affix.empty() && (kEnd ? self.ends_with(affix) : self.starts_with(affix)))
    return text_value(kEnd ? self.substr(0, self.size() - affix.size()) : self.substr(affix.size()));
  return text_value(self);
}

Value replace(Runtime&, const std::string& self, Arguments& arguments) {
  const auto given = arguments.take("replace", {"old", "new", "count"}, 2);
  const Integer limit = given[2] ? python_index(*given[2], "count") : -1;
  return text_value(
      replace_text(self, text_argument(*given[0], "replace"), text_argument(*given[1], "replace"), limit));
}

template <bool kRight>
Value split(Runtime&, const std::string& self, Arguments& arguments) {
  const auto given = arguments.take("split", {"sep", "maxsplit"});
  const Integer max = given[1] ? python_index(*given[1], "maxsplit") : -1;
  Meter::work(self.size() / 64);
  if (!given[0] || given[0]->is_none()) return strings(split_space(self, max, kRight));
  return strings(split_on(self, text_argument(*given[0], "split"), max, kRight));
}

Value lines(Runtime&, const std::string& self, Arguments& arguments) {
  const auto given = arguments.take("splitlines", {"keepends"});
  return strings(split_lines(self, given[0] && given[0]->truth()));
}

template <bool kLeft, bool kRight>
Value strip(Runtime&, const std::string& self, Arguments& arguments) {
  const auto given = arguments.take("strip", {"chars"});
  std::string_view text = self;
  const bool space = !given[0] || given[0]->is_none();
  if (!space) text_argument(*given[0], "strip");
  if (kLeft) text = space ? strip_left(text) : strip_left(text, given[0]->text());
  if (kRight) text = space ? strip_right(text) : strip_right(text, given[0]->text());
  return text_value(std::string(text));
}

Value expand_tabs(Runtime&, const std::string& self, Arguments& arguments) {
  const auto given = arguments.take("expandtabs", {"tabsize"});
  const Integer size = given[0] ? python_index(*given[0], "tabsize") : 8;
  if (size > 1000) fail("the tabsize of expandtabs is larger than 1000");
  std::string out;
  Integer column = 0;
  Meter::expect_bytes(self.size());
  for (char32_t code : decode(self)) {
    if (code == '\t') {
      const Integer spaces = size <= 0 ? 0 : size - column % size;
      out.append(static_cast<size_t>(spaces), ' ');
      column += spaces;
    } else {
      append_char(out, code);
      column = code == '\n' || code == '\r' ? 0 : column + 1;
    }
    if (Meter* meter = Meter::current()) meter->check(out.size());
  }
  return text_value(std::move(out));
}

Value format(Runtime& runtime, const std::string& self, Arguments& arguments) {
  return text_value(brace_format(runtime, self, arguments));
}

Value format_map(Runtime& runtime, const std::string& self, Arguments& arguments) {
  const Value mapping = *arguments.take("format_map", {"mapping"}, 1)[0];
  if (!mapping.is(Kind::kDict)) fail("str.format_map() needs a mapping, not {}", mapping.type_name());
  Arguments named;
  for (const auto& [key, value] : mapping.dict().entries())
    if (key.is_string()) named.named.emplace_back(key.text(), value);
  return text_value(brace_format(runtime, self, named));
}

Value refused(Runtime&, const std::string&, Arguments&) {
  fail("str.encode, str.translate and str.maketrans are not supported");
}

const std::unordered_map<std::string_view, Method>& methods() {
  static const std::unordered_map<std::string_view, Method> kMethods = {
      {"capitalize", convert<capitalize>},
      {"casefold", convert<casefold>},
      {"center", justify<'^'>},
      {"count", count},
      {"encode", refused},
      {"endswith", has_affix<true>},
      {"expandtabs", expand_tabs},
      {"find", find<false, false>},
      {"format", format},
      {"format_map", format_map},
      {"index", find<false, true>},
      {"isalnum", all_characters<is_alphanumeric, false>},
      {"isalpha", all_characters<is_alpha, false>},
      {"isascii", all_characters<is_ascii_char, true>},
      {"isdecimal", all_characters<is_decimal, false>},
      {"isdigit", all_characters<is_digit, false>},
      {"isidentifier", is_identifier},
      {"islower", has_case<false>},
      {"isnumeric", all_characters<is_numeric, false>},
      {"isprintable", all_characters<is_printable, true>},
      {"isspace", all_characters<is_space, false>},
      {"istitle", is_title_text},
      {"isupper", has_case<true>},
      {"join", join},
      {"ljust", justify<'<'>},
      {"lower", convert<lower>},
      {"lstrip", strip<true, false>},
      {"maketrans", refused},
      {"partition", partition<false>},
      {"removeprefix", remove_affix<false>},
      {"removesuffix", remove_affix<true>},
      {"replace", replace},
      {"rfind", find<true, false>},
      {"rindex", find<true, true>},
      {"rjust", justify<'>'>},
      {"rpartition", partition<true>},
      {"rsplit", split<true>},
      {"rstrip", strip<false, true>},
      {"split", split<false>},
      {"splitlines", lines},
      {"startswith", has_affix<false>},
      {"strip", strip<true, true>},
      {"swapcase", convert<swapcase>},
      {"title", convert<title>},
      {"translate", refused},
      {"upper", convert<upper>},
      {"zfill", zero_fill},
  };
  return kMethods;
}

}  // namespace

std::optional<Value> string_method(const Value& self, std::string_view name) {
  const auto found = methods().find(name);
  if (found == methods().end()) return std::nullopt;
  return function_value(
      std::string(name), [self, method = found->second](Runtime& runtime, Arguments& arguments) {
        if (self.is_markup() && (method == format || method == join || method == replace)) {
          for (size_t i = method == replace ? 1 : 0; i < arguments.positional.size(); ++i)
            arguments.positional[i] = escaped(arguments.positional[i]);
          for (auto& entry : arguments.named) entry.second = escaped(entry.second);
        }
        Value result = method(runtime, self.text(), arguments);
        return self.is_markup() && result.is_string() ? Value::string(result.text(), true) : result;
      });
}

}  // namespace llmhost::text::jinja
