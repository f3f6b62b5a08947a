// str() and repr() as Python writes them.
#include <charconv>
#include <cmath>

#include "text/template/object.h"
#include "text/template/unicode.h"
#include "text/template/value.h"

namespace llmhost::text::jinja {
namespace {

constexpr int kMaxReprDepth = 500;  // a namespace may hold itself

void append_repr(std::string& out, const Value& value, int depth);

void append_string_repr(std::string& out, std::string_view text) {
  const bool single = text.find('\'') == std::string_view::npos || text.find('"') != std::string_view::npos;
  const char quote = single ? '\'' : '"';
  out += quote;
  for (; !text.empty(); text.remove_prefix(char_size(text))) {
    const char32_t code = first_char(text);
    if (code == static_cast<char32_t>(quote) || code == '\\') {
      out += '\\';
      out += static_cast<char>(code);
    } else if (code == '\n' || code == '\r' || code == '\t') {
      out += code == '\n' ? "\\n" : code == '\r' ? "\\r" : "\\t";
    } else if (is_printable(code)) {
      out += text.substr(0, char_size(text));
    } else if (code < 0x100) {
      out += fmt::format("\\x{:02x}", static_cast<uint32_t>(code));
    } else if (code < 0x10000) {
      out += fmt::format("\\u{:04x}", static_cast<uint32_t>(code));
    } else {
      out += fmt::format("\\U{:08x}", static_cast<uint32_t>(code));
    }
  }
  out += quote;
}

void append_items(std::string& out, const Values& items, int depth) {
  for (size_t i = 0; i < items.size(); ++i) {
    if (i != 0) out += ", ";
    append_repr(out, items[i], depth);
  }
}

void append_repr(std::string& out, const Value& value, int depth) {
  if (depth > kMaxReprDepth) fail("the value is nested too deep to be written");
  Meter::work(1);
  switch (value.kind()) {
    case Kind::kString:
      if (value.is_markup()) out += "Markup(";
      append_string_repr(out, value.text());
      if (value.is_markup()) out += ')';
      Meter::expect_bytes(out.size() > (size_t{1} << 16) ? value.text().size() : 0);
      if (Meter* meter = Meter::current()) meter->check(out.size());
      break;
    case Kind::kList:
      out += '[';
      append_items(out, value.items(), depth + 1);
      out += ']';
      break;
    case Kind::kTuple:
      out += '(';
      append_items(out, value.items(), depth + 1);
      out += value.items().size() == 1 ? ",)" : ")";
      break;
    case Kind::kDict: {
      out += '{';
      bool first = true;
      for (const auto& [key, item] : value.dict().entries()) {
        if (!std::exchange(first, false)) out += ", ";
        append_repr(out, key, depth + 1);
        out += ": ";
        append_repr(out, item, depth + 1);
      }
      out += '}';
      break;
    }
    case Kind::kUndefined:
      out += "Undefined";
      break;
    case Kind::kObject:
      out += value.object().repr();
      break;
    default:
      out += str_of(value);
  }
}

}  // namespace

std::string integer_text(Integer value) {
  return fmt::format("{}", value);
}

std::string float_repr(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  char buffer[64];
  const auto shortest = std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::scientific);
  const std::string_view text(buffer, static_cast<size_t>(shortest.ptr - buffer));
  const size_t mark = text.find('e');
  int exponent = 0;
  const char* digits_of_exponent = text.data() + mark + (text[mark + 1] == '+' ? 2 : 1);
  std::from_chars(digits_of_exponent, text.data() + text.size(), exponent);
  if (exponent < -4 || exponent >= 16)
    return fmt::format("{}e{}{:02d}", text.substr(0, mark), exponent < 0 ? '-' : '+', std::abs(exponent));
  const auto fixed = std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::fixed);
  std::string out(buffer, fixed.ptr);
  if (out.find('.') == std::string::npos) out += ".0";
  return out;
}

std::string ascii_of(const Value& value) {
  std::string out;
  for (char32_t code : decode(repr_of(value))) {
    const auto number = static_cast<uint32_t>(code);
    if (code < 0x80) {
      out += static_cast<char>(code);
    } else {
      out += code < 0x100     ? fmt::format("\\x{:02x}", number)
             : code < 0x10000 ? fmt::format("\\u{:04x}", number)
                              : fmt::format("\\U{:08x}", number);
    }
  }
  return out;
}

std::string str_of(const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined:
      return {};
    case Kind::kNone:
      return "None";
    case Kind::kBool:
      return value.as_bool() ? "True" : "False";
    case Kind::kInt:
      return integer_text(value.as_integer());
    case Kind::kFloat:
      return float_repr(value.as_real());
    case Kind::kString:
      return value.text();
    default:
      return repr_of(value);
  }
}

std::string repr_of(const Value& value) {
  // Objects call back for what they hold, so the depth is counted over the nested calls.
  thread_local int active = 0;
  struct Guard {
    Guard() {
      if (++active > 100) {
        --active;
        fail("the value is nested too deep to be written");
      }
    }
    ~Guard() { --active; }
  } guard;
  std::string out;
  append_repr(out, value, 0);
  return out;
}

}  // namespace llmhost::text::jinja
