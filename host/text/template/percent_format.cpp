// The % operator of str: "%s has %d" % values.
#include <cmath>

#include "text/template/number_format.h"
#include "text/template/operators.h"
#include "text/template/unicode.h"

namespace llmhost::text::jinja {
namespace {

class PercentFormatter {
 public:
  PercentFormatter(std::string_view format, const Value& values) : format_(format), values_(values) {}

  std::string run() {
    while (at_ < format_.size()) {
      const size_t percent = std::min(format_.find('%', at_), format_.size());
      out_ += format_.substr(at_, percent - at_);
      at_ = percent;
      if (at_ < format_.size()) conversion();
    }
    const bool mapping = values_.is(Kind::kDict) || values_.is(Kind::kList);
    const bool left_over = values_.is(Kind::kTuple) ? used_ < values_.items().size() : !mapping && used_ == 0;
    if (left_over) fail("not all arguments converted during string formatting");
    return std::move(out_);
  }

 private:
  char peek() const {
    if (at_ >= format_.size()) fail("incomplete format");
    return format_[at_];
  }

  Value argument() {
    if (key_) {
      if (!values_.is(Kind::kDict)) fail("format requires a mapping");
      const Value* found = values_.dict().find(std::string_view(*key_));
      if (found == nullptr) fail("the format names '{}', which is not there", *key_);
      return *found;
    }
    if (values_.is(Kind::kTuple)) {
      if (used_ >= values_.items().size()) fail("not enough arguments for format string");
      return values_.items()[used_++];
    }
    if (used_++ != 0) fail("not enough arguments for format string");
    return values_;
  }

  Integer number() {
    if (peek() == '*') {
      ++at_;
      return python_index(argument(), "* in a format");
    }
    Integer value = 0;
    while (peek() >= '0' && peek() <= '9') {
      value = value * 10 + (format_[at_++] - '0');
      if (value > (1 << 30)) fail("the width in the format is too large");
    }
    return value;
  }

  void conversion() {
    ++at_;
    key_.reset();
    FormatSpec spec;
    bool left = false, zero = false;
    if (peek() == '(') {
      const size_t close = format_.find(')', at_);
      if (close == std::string_view::npos) fail("incomplete format key");
      key_ = std::string(format_.substr(at_ + 1, close - at_ - 1));
      at_ = close + 1;
    }
    for (;; ++at_) {
      const char flag = peek();
      left |= flag == '-';
      zero |= flag == '0';
      if (flag == '+' || (flag == ' ' && spec.sign != '+')) spec.sign = flag;
      spec.alternate |= flag == '#';
      if (std::string_view("-0+ #").find(flag) == std::string_view::npos) break;
    }
    spec.width = number();
    if (spec.width < 0) {
      left = true;
      spec.width = -spec.width;
    }
    if (peek() == '.') {
      ++at_;
      spec.precision = static_cast<int>(std::max<Integer>(0, number()));
    }
    while (peek() == 'l' || peek() == 'h' || peek() == 'L') ++at_;
    spec.type = peek();
    ++at_;
    spec.align = left ? '<' : '>';
    write(spec, zero && !left);
  }

  void write(FormatSpec spec, bool zero) {
    if (spec.type == '%') {
      out_ += '%';
      return;
    }
    if (std::string_view("diuoxXeEfFgGcrsa").find(spec.type) == std::string_view::npos)
      fail("unsupported format character '{}'", spec.type);
    const Value value = argument();
    if (spec.type == 's' || spec.type == 'r' || spec.type == 'a') {
      out_ += aligned_text(spec.type == 's'   ? str_of(value)
                           : spec.type == 'r' ? repr_of(value)
                                              : ascii_of(value),
                           spec);
    } else if (spec.type == 'c') {
      spec.precision.reset();
      out_ += aligned_text(character(value), spec);
    } else {
      write_number(value, spec, zero);
    }
    Meter::expect_bytes(out_.size());
  }

  static std::string character(const Value& value) {
    if (value.is_string() && char_count(value.text()) == 1) return value.text();
    const Integer code = python_index(value, "%c");
    if (code < 0 || code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) fail("%c needs a character");
    std::string out;
    append_char(out, static_cast<char32_t>(code));
    return out;
  }

  void write_number(Value value, FormatSpec spec, bool zero) {
    if (!value.is_number())
      fail("%{} format: a number is required, not {}", spec.type,
           value.is_undefined() ? "Undefined" : value.type_name());
    if (zero) {
      spec.align = '=';
      spec.fill = U'0';
    }
    if (std::string_view("diuoxX").find(spec.type) != std::string_view::npos) {
      if (value.is(Kind::kFloat)) {
        if (spec.type == 'x' || spec.type == 'X' || spec.type == 'o')
          fail("%{} format: an integer is required, not float", spec.type);
        if (!std::isfinite(value.as_real()) || std::abs(value.as_real()) > 1e37)
          fail("cannot convert the float to an integer");
        value = Value::integer(static_cast<Integer>(value.as_real()));
      }
      if (spec.type == 'i' || spec.type == 'u') spec.type = 'd';
      if (spec.precision) {
        write_padded_integer(value, spec);
        return;
      }
    }
    out_ += aligned_number(value, spec);
  }

  // "%.3d": the precision is the least number of digits.
  void write_padded_integer(const Value& value, FormatSpec spec) {
    FormatSpec digits = spec;
    digits.precision.reset();
    digits.align = '=';
    digits.fill = U'0';
    bool negative = false;
    const auto sign = static_cast<Integer>(negative || value.as_integer() < 0 || spec.sign != '-' ? 1 : 0);
    digits.width = *spec.precision + sign;
    spec.precision.reset();
    if (spec.align == '=') spec.align = '>';
    spec.fill = U' ';
    out_ += aligned_text(aligned_number(value, digits), spec);
  }

  std::string_view format_;
  const Value& values_;
  size_t at_ = 0;
  size_t used_ = 0;
  std::optional<std::string> key_;
  std::string out_;
};

}  // namespace

std::string percent_format(std::string_view format, const Value& values) {
  return PercentFormatter(format, values).run();
}

}  // namespace llmhost::text::jinja
