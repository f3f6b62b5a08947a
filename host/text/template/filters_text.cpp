// Filters on text.
#include <algorithm>

#include "text/template/filters.h"
#include "text/template/operators.h"
#include "text/template/text_tools.h"
#include "text/template/unicode.h"

namespace llmhost::text::jinja {
namespace {

Value same_type(const Value& like, std::string text) {
  return Value::string(std::move(text), like.is_markup());
}

template <std::string (*kConvert)(std::string_view)>
Value convert(Runtime&, const Value& value, Arguments& arguments) {
  arguments.take("filter", {});
  return same_type(value, kConvert(str_of(value)));
}

// Jinja's title: every part after white space or an opening bracket or hyphen starts with a capital.
std::string title_words(std::string_view text) {
  std::string out;
  const std::u32string codes = decode(text);
  for (size_t i = 0; i < codes.size();) {
    const auto separates = [&](size_t at) {
      return is_space(codes[at]) ||
             std::u32string_view(U"-({[<").find(codes[at]) != std::u32string_view::npos;
    };
    size_t end = i;
    while (end < codes.size() && separates(end) == separates(i)) ++end;
    const std::string first = encode(std::u32string_view(codes).substr(i, 1));
    out += upper(first) + lower(encode(std::u32string_view(codes).substr(i + 1, end - i - 1)));
    i = end;
  }
  return out;
}

Value center(Runtime&, const Value& value, Arguments& arguments) {
  const auto given = arguments.take("center", {"width"});
  const Integer width = given[0] ? python_index(*given[0], "width") : 80;
  return same_type(value, pad(str_of(value), width, ' ', '^'));
}

Value escape(Runtime&, const Value& value, Arguments&) {
  return value.is_markup() ? value : Value::string(escape_html(str_of(value)), true);
}
Value force_escape(Runtime&, const Value& value, Arguments&) {
  return Value::string(escape_html(str_of(value)), true);
}
Value safe(Runtime&, const Value& value, Arguments&) {
  return Value::string(str_of(value), true);
}
Value string(Runtime&, const Value& value, Arguments& arguments) {
  if (!arguments.positional.empty() || !arguments.named.empty()) fail("the filter string takes no arguments");
  return value.is_string() ? value : text_value(str_of(value));
}

Value format(Runtime&, const Value& value, Arguments& arguments) {
  if (!arguments.positional.empty() && !arguments.named.empty())
    fail("format can't handle positional and keyword arguments at the same time");
  const Value text = value.is_string() ? value : text_value(str_of(value));
  if (arguments.named.empty()) return binary(BinaryOp::kMod, text, Value::tuple(arguments.positional));
  std::vector<DictNode::Entry> entries;
  for (const auto& [name, item] : arguments.named) entries.emplace_back(text_value(name), item);
  return binary(BinaryOp::kMod, text, Value::dict(std::make_shared<DictNode>(std::move(entries))));
}

Value indent(Runtime&, const Value& value, Arguments& arguments) {
  const auto given = arguments.take("indent", {"width", "first", "blank"});
  if (!value.is_string())
    fail("indent needs a string, not {}",
         value.is_undefined() ? value.undefined_message() : value.type_name());
  std::string margin(4, ' ');
  if (given[0] && given[0]->is_string()) {
    margin = given[0]->text();
  } else if (given[0]) {
    const Integer width = std::max<Integer>(0, python_index(*given[0], "width"));
    if (width > (1 << 20)) fail("the width of indent is too large");
    margin.assign(static_cast<size_t>(width), ' ');
  }
  const bool first = given[1] && given[1]->truth();
  const bool blank = given[2] && given[2]->truth();
  const auto lines = split_lines(value.text() + "\n", false);
  Meter::expect_bytes(value.text().size() + lines.size() * margin.size());
  std::string out = first ? margin : "";
  for (size_t i = 0; i < lines.size(); ++i) {
    if (i != 0) out += '\n';
    if (i != 0 && (blank || !lines[i].empty())) out += margin;
    out += lines[i];
  }
  return same_type(value, std::move(out));
}

Value trim(Runtime&, const Value& value, Arguments& arguments) {
  const auto given = arguments.take("trim", {"chars"});
  const std::string text = str_of(value);
  if (!given[0] || given[0]->is_none()) return same_type(value, std::string(strip_left(strip_right(text))));
  if (!given[0]->is_string()) fail("trim needs a string of characters, not {}", given[0]->type_name());
  const std::string& set = given[0]->text();
  return same_type(value, std::string(strip_left(strip_right(text, set), set)));
}

Value replace(Runtime&, const Value& value, Arguments& arguments) {
  const auto given = arguments.take("replace", {"old", "new", "count"}, 2);
  const Integer count = given[2] && !given[2]->is_none() ? python_index(*given[2], "count") : -1;
  return text_value(replace_text(str_of(value), str_of(*given[0]), str_of(*given[1]), count));
}

Value strip_tags(Runtime&, const Value& value, Arguments&) {
  return text_value(strip_markup(str_of(value)));
}

Value truncate(Runtime&, const Value& value, Arguments& arguments) {
  const auto given = arguments.take("truncate", {"length", "killwords", "end", "leeway"});
  if (value.is_undefined()) return value;
  if (!value.is_string()) fail("truncate needs a string, not {}", value.type_name());
  const Integer length = given[0] ? python_index(*given[0], "length") : 255;
  const std::string end = given[2] ? str_of(*given[2]) : "...";
  const Integer leeway = given[3] && !given[3]->is_none() ? python_index(*given[3], "leeway") : 5;
  const std::u32string text = decode(value.text());
  const auto end_length = static_cast<Integer>(char_count(end));
  if (length < end_length) fail("truncate: expected length >= {}, got {}", end_length, length);
  if (leeway < 0) fail("truncate: expected leeway >= 0, got {}", leeway);
  if (static_cast<Integer>(text.size()) <= length + leeway) return value;
  std::u32string_view kept = std::u32string_view(text).substr(0, static_cast<size_t>(length - end_length));
  if (!given[1] || !given[1]->truth()) {
    const size_t space = kept.rfind(U' ');
    if (space != std::u32string_view::npos) kept = kept.substr(0, space);
  }
  return same_type(value, encode(kept) + end);
}

Value url_encode(Runtime&, const Value& value, Arguments&) {
  const bool pairs =
      !value.is_string() && (value.is(Kind::kDict) || value.is_sequence() || value.is(Kind::kObject));
  if (!pairs) return text_value(url_quote(str_of(value), false));
  std::string out;
  const auto add = [&](const Value& key, const Value& item) {
    if (!out.empty()) out += '&';
    out += url_quote(str_of(key), true) + "=" + url_quote(str_of(item), true);
  };
  if (value.is(Kind::kDict)) {
    for (const auto& [key, item] : value.dict().entries()) add(key, item);
  } else {
    for (const auto walked = iterate(value); const Value& pair : walked->items) {
      const auto items = iterate(pair);
      if (items->items.size() != 2) fail("urlencode needs pairs, one has {} elements", items->items.size());
      add(items->items[0], items->items[1]);
    }
  }
  return text_value(std::move(out));
}

Value word_count(Runtime&, const Value& value, Arguments&) {
  Integer words = 0;
  bool inside = false;
  for (char32_t code : decode(str_of(value))) {
    const bool word = is_alpha(code) || is_numeric(code) || code == '_';
    if (word && !inside) ++words;
    inside = word;
  }
  return Value::integer(words);
}

Value word_wrap(Runtime&, const Value& value, Arguments& arguments) {
  const auto given =
      arguments.take("wordwrap", {"width", "break_long_words", "wrapstring", "break_on_hyphens"});
  if (!value.is_string()) fail("wordwrap needs a string, not {}", value.type_name());
  const Integer width = given[0] ? python_index(*given[0], "width") : 79;
  if (width <= 0) fail("wordwrap: invalid width {} (must be > 0)", width);
  const bool break_words = !given[1] || given[1]->truth();
  const std::string wrap = given[2] && !given[2]->is_none() ? str_of(*given[2]) : "\n";
  const bool hyphens = !given[3] || given[3]->truth();
  std::string out;
  bool first = true;
  for (const std::string& line : split_lines(value.text(), false)) {
    if (!std::exchange(first, false)) out += wrap;
    const auto wrapped =
        wrap_line(line, static_cast<size_t>(std::min<Integer>(width, 1 << 30)), break_words, hyphens);
    for (size_t i = 0; i < wrapped.size(); ++i) out += (i != 0 ? wrap : "") + wrapped[i];
  }
  return text_value(std::move(out));
}

Value xml_attributes(Runtime&, const Value& value, Arguments& arguments) {
  const auto given = arguments.take("xmlattr", {"autospace"});
  if (!value.is(Kind::kDict)) fail("xmlattr needs a mapping, not {}", value.type_name());
  std::string out;
  for (const auto& [key, item] : value.dict().entries()) {
    if (item.is_none() || item.is_undefined()) continue;
    const std::string name = str_of(key);
    if (name.find_first_of(" \t\n\r\f\v/>=") != std::string::npos)
      fail("invalid character in attribute name: {}", repr_of(key));
    if (!out.empty()) out += ' ';
    out += escape_html(name) + "=\"" + (item.is_markup() ? item.text() : escape_html(str_of(item))) + "\"";
  }
  const bool space = (!given[0] || given[0]->truth()) && !out.empty();
  return text_value(space ? " " + out : out);
}

constexpr FilterEntry kFilters[] = {
    {"capitalize", convert<capitalize>},
    {"center", center},
    {"e", escape},
    {"escape", escape},
    {"forceescape", force_escape},
    {"format", format},
    {"indent", indent},
    {"lower", convert<lower>},
    {"replace", replace},
    {"safe", safe},
    {"string", string},
    {"striptags", strip_tags},
    {"title", convert<title_words>},
    {"trim", trim},
    {"truncate", truncate},
    {"upper", convert<upper>},
    {"urlencode", url_encode},
    {"wordcount", word_count},
    {"wordwrap", word_wrap},
    {"xmlattr", xml_attributes},
};

}  // namespace

std::span<const FilterEntry> text_filters() {
  return kFilters;
}

}  // namespace llmhost::text::jinja
