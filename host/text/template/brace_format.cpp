// str.format: "{0.name!r:>8}".format(values), with the sandbox's attribute access.
#include <cmath>

#include "text/template/number_format.h"
#include "text/template/operators.h"
#include "text/template/text_tools.h"
#include "text/template/unicode.h"

namespace llmhost::text::jinja {
namespace {

bool is_align(char32_t code) {
  return code == '<' || code == '>' || code == '^' || code == '=';
}

FormatSpec parse_spec(std::string_view text) {
  FormatSpec spec;
  const std::u32string codes = decode(text);
  size_t at = 0;
  const auto peek = [&]() -> char32_t { return at < codes.size() ? codes[at] : U'\0'; };
  if (codes.size() > 1 && is_align(codes[1])) {
    spec.fill = codes[0];
    spec.align = static_cast<char>(codes[1]);
    at = 2;
  } else if (is_align(peek())) {
    spec.align = static_cast<char>(codes[at++]);
  }
  if (peek() == '+' || peek() == '-' || peek() == ' ') spec.sign = static_cast<char>(codes[at++]);
  if (peek() == '#') {
    spec.alternate = true;
    ++at;
  }
  if (peek() == '0' && spec.align == '\0') {
    spec.fill = U'0';
    spec.align = '=';
  }
  const auto number = [&] {
    Integer value = 0;
    while (peek() >= '0' && peek() <= '9') {
      value = value * 10 + static_cast<int>(codes[at++] - U'0');
      if (value > (1 << 30)) fail("the width in the format is too large");
    }
    return value;
  };
  spec.width = number();
  if (peek() == ',' || peek() == '_') spec.grouping = static_cast<char>(codes[at++]);
  if (peek() == '.') {
    ++at;
    if (peek() < '0' || peek() > '9') fail("Format specifier missing precision");
    spec.precision = static_cast<int>(number());
  }
  if (at < codes.size() && codes[at] < 0x80) spec.type = static_cast<char>(codes[at++]);
  if (at != codes.size()) fail("Invalid format specifier '{}'", text);
  return spec;
}

std::string format_value(const Value& value, std::string_view text) {
  if (text.empty()) return str_of(value);
  FormatSpec spec = parse_spec(text);
  if (value.is_number() && !(value.is(Kind::kBool) && spec.type == '\0')) {
    const std::string_view known = value.is(Kind::kFloat) ? "eEfFgGn%" : "bcdoxXneEfFgG%";
    if (spec.type != '\0' && known.find(spec.type) == std::string_view::npos)
      fail("Unknown format code '{}' for object of type '{}'", spec.type, value.type_name());
    if (spec.type == 'c') fail("the format code 'c' is not supported in str.format");
    return aligned_number(value, spec);
  }
  if (value.is(Kind::kBool)) return aligned_number(Value::integer(value.as_integer()), spec);
  if (!value.is_string()) fail("unsupported format string passed to {}.__format__", value.type_name());
  if (spec.type != '\0' && spec.type != 's')
    fail("Unknown format code '{}' for object of type 'str'", spec.type);
  if (spec.align == '=' && spec.fill == U'0') spec.align = '<';
  if (spec.align == '=' || spec.grouping != '\0' || spec.sign != '-')
    fail("Invalid format specifier '{}' for a string", text);
  return aligned_text(value.text(), spec);
}

class BraceFormatter {
 public:
  explicit BraceFormatter(const Arguments& arguments) : arguments_(arguments) {}

  std::string run(std::string_view format, int depth) {
    if (depth < 0) fail("Max string recursion exceeded");
    std::string out;
    for (size_t at = 0; at < format.size();) {
      const char c = format[at];
      if (c != '{' && c != '}') {
        out += c;
        ++at;
      } else if (at + 1 < format.size() && format[at + 1] == c) {
        out += c;
        at += 2;
      } else {
        if (c == '}') fail("Single '}}' encountered in format string");
        const size_t end = field_end(format, at);
        out += field(format.substr(at + 1, end - at - 1), depth);
        at = end + 1;
        Meter::expect_bytes(out.size());
      }
    }
    return out;
  }

 private:
  static size_t field_end(std::string_view format, size_t begin) {
    int open = 0;
    bool bracket = false;
    for (size_t at = begin; at < format.size(); ++at) {
      bracket = format[at] == '[' || (bracket && format[at] != ']');
      if (bracket && open == 1) continue;
      if (format[at] == '{') ++open;
      if (format[at] == '}' && --open == 0) return at;
    }
    fail("expected '}}' before end of string");
  }

  std::string field(std::string_view text, int depth) {
    size_t end = 0;
    for (bool bracket = false; end < text.size(); ++end) {
      if (text[end] == '[') bracket = true;
      if (text[end] == ']') bracket = false;
      if (!bracket && (text[end] == '!' || text[end] == ':')) break;
    }
    Value value = resolve(text.substr(0, end));
    text.remove_prefix(end);
    if (text.starts_with('!')) {
      if (text.size() < 2 || (text.size() > 2 && text[2] != ':'))
        fail("expected ':' after conversion specifier");
      if (text[1] != 's' && text[1] != 'r' && text[1] != 'a')
        fail("Unknown conversion specifier '{}'", text[1]);
      value = text_value(text[1] == 's' ? str_of(value) : text[1] == 'r' ? repr_of(value) : ascii_of(value));
      text.remove_prefix(2);
    }
    if (text.starts_with(':')) text.remove_prefix(1);
    return format_value(value, run(text, depth - 1));
  }

  Value first(std::string_view name) {
    const bool digits = name.find_first_not_of("0123456789") == std::string_view::npos;
    if (!digits) {
      for (const auto& [known, value] : arguments_.named)
        if (known == name) return value;
      fail("the format names '{}', which is not there", name);
    }
    if (name.size() > 9) fail("Too many decimal digits in format string");
    if (name.empty() ? manual_ : next_ > 0) {
      fail("cannot mix automatic and manual field numbering");
    }
    manual_ |= !name.empty();
    const size_t index = name.empty() ? next_++ : static_cast<size_t>(std::stoul(std::string(name)));
    if (index >= arguments_.positional.size())
      fail("Replacement index {} out of range for positional args tuple", index);
    return arguments_.positional[index];
  }

  Value resolve(std::string_view path) {
    size_t end = std::min(path.find_first_of(".["), path.size());
    Value value = first(path.substr(0, end));
    while (end < path.size()) {
      if (path[end] == '.') {
        const size_t stop = std::min(path.find_first_of(".[", end + 1), path.size());
        value = get_attribute(value, path.substr(end + 1, stop - end - 1));
        end = stop;
      } else if (path[end] == '[') {
        const size_t stop = path.find(']', end);
        if (stop == std::string_view::npos) fail("Missing ']' in format string");
        const std::string key(path.substr(end + 1, stop - end - 1));
        const auto index =
            key.find_first_not_of("0123456789") == std::string::npos ? parse_integer(key, 10) : std::nullopt;
        value = get_item(value, index ? Value::integer(*index) : text_value(key));
        end = stop + 1;
      } else {
        fail("Only '.' or '[' may follow ']' in format field specifier");
      }
    }
    return value;
  }

  const Arguments& arguments_;
  size_t next_ = 0;
  bool manual_ = false;
};

}  // namespace

std::string brace_format(Runtime&, std::string_view format, const Arguments& arguments) {
  return BraceFormatter(arguments).run(format, 2);
}

}  // namespace llmhost::text::jinja
