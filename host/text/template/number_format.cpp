#include "text/template/number_format.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "text/template/text_tools.h"
#include "text/template/unicode.h"

namespace llmhost::text::jinja {
namespace {

constexpr int kMaxPrecision = 1000;

std::string integer_digits(Integer value, const FormatSpec& spec) {
  const int base = spec.type == 'x' || spec.type == 'X' ? 16
                   : spec.type == 'o'                   ? 8
                   : spec.type == 'b'                   ? 2
                                                        : 10;
  std::string digits;
  do {
    const int digit = static_cast<int>(value % base);
    digits += (spec.type == 'X' ? "0123456789ABCDEF" : "0123456789abcdef")[digit < 0 ? -digit : digit];
    value /= base;
  } while (value != 0);
  std::reverse(digits.begin(), digits.end());
  return digits;
}

std::string real_digits(double value, const FormatSpec& spec) {
  value = std::abs(value);
  if (std::isnan(value)) return std::isupper(static_cast<unsigned char>(spec.type)) != 0 ? "NAN" : "nan";
  if (std::isinf(value)) return std::isupper(static_cast<unsigned char>(spec.type)) != 0 ? "INF" : "inf";
  if (spec.type == '\0' && !spec.precision) return float_repr(value);
  const int precision = spec.precision.value_or(6);
  if (precision > kMaxPrecision) fail("a precision of {} is too large", precision);
  if (spec.type == '%') return fmt::format("{:.{}f}%", value * 100, precision);
  char type = spec.type == '\0' || spec.type == 'n' ? 'g' : spec.type;
  std::string pattern = spec.alternate ? "%#.*" : "%.*";
  pattern += type;
  const int size = std::snprintf(nullptr, 0, pattern.c_str(), precision, value);
  std::string out(static_cast<size_t>(size) + 1, '\0');
  std::snprintf(out.data(), out.size(), pattern.c_str(), precision, value);
  out.pop_back();
  if (spec.type == '\0' && out.find_first_of(".en") == std::string::npos) out += ".0";
  return out;
}

void group(std::string& digits, char separator, size_t every) {
  size_t whole = digits.find_first_not_of("0123456789abcdefABCDEF");
  if (whole == std::string::npos) whole = digits.size();
  if (every == 3 && digits.find('e') < whole) whole = digits.find('e');
  for (size_t at = whole; at > every; at -= every) digits.insert(at - every, 1, separator);
}

}  // namespace

std::string number_digits(const Value& value, const FormatSpec& spec, bool& negative) {
  const bool integer_type =
      spec.type != '\0' && std::string_view("dxXobn").find(spec.type) != std::string_view::npos;
  std::string digits;
  if (value.is_integral() && (integer_type || (spec.type == '\0' && !spec.precision))) {
    negative = value.as_integer() < 0;
    digits = integer_digits(value.as_integer(), spec);
  } else {
    negative = std::signbit(value.as_real()) && !std::isnan(value.as_real());
    digits = real_digits(value.as_real(), spec);
  }
  if (spec.grouping != '\0') {
    const bool by_four = spec.type == 'x' || spec.type == 'X' || spec.type == 'o' || spec.type == 'b';
    group(digits, spec.grouping, by_four ? 4 : 3);
  }
  return digits;
}

std::string aligned_number(const Value& value, const FormatSpec& spec) {
  bool negative = false;
  const std::string digits = number_digits(value, spec, negative);
  std::string sign = negative ? "-" : spec.sign == '-' ? "" : std::string(1, spec.sign);
  if (spec.alternate && value.is_integral() &&
      (spec.type == 'x' || spec.type == 'X' || spec.type == 'o' || spec.type == 'b'))
    sign += std::string("0") + spec.type;
  if (spec.align == '=')
    return sign + pad(digits, spec.width - static_cast<Integer>(sign.size()), spec.fill, '>');
  FormatSpec placed = spec;
  if (placed.align == '\0') placed.align = '>';
  placed.precision.reset();
  return aligned_text(sign + digits, placed);
}

std::string aligned_text(const std::string& text, const FormatSpec& spec) {
  std::string kept = text;
  if (spec.precision) kept = text.substr(0, byte_offset(text, static_cast<size_t>(*spec.precision)));
  if (spec.align == '^') {  // str.format puts the odd blank to the right, str.center does not
    const auto length = static_cast<Integer>(char_count(kept));
    const Integer left = spec.width > length ? (spec.width - length) / 2 : 0;
    return pad(pad(kept, length + left, spec.fill, '>'), spec.width, spec.fill, '<');
  }
  return pad(kept, spec.width, spec.fill, spec.align == '>' ? '>' : '<');
}

}  // namespace llmhost::text::jinja
