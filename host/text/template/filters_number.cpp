// Filters on numbers.
#include <cmath>

#include "text/template/filters.h"
#include "text/template/operators.h"
#include "text/template/text_tools.h"

namespace llmhost::text::jinja {
namespace {

[[noreturn]] void not_a_number(std::string_view filter, const Value& value) {
  if (value.is_undefined()) fail("{}", value.undefined_message());
  fail("{} needs a number, not {}", filter, value.type_name());
}

Value absolute(Runtime&, const Value& value, Arguments&) {
  if (value.is(Kind::kFloat)) return Value::real(std::abs(value.as_real()));
  if (!value.is_integral()) not_a_number("abs", value);
  return value.as_integer() < 0 ? negate(value) : Value::integer(value.as_integer());
}

std::optional<Integer> truncated(double value) {
  if (!std::isfinite(value)) return std::nullopt;
  if (std::abs(value) >= 1.7e38) fail("the integer is too big: integers have at most 127 bits here");
  return static_cast<Integer>(value);
}

Value to_int(Runtime&, const Value& value, Arguments& arguments) {
  const auto given = arguments.take("int", {"default", "base"});
  Value fallback = given[0].value_or(Value::integer(0));
  const Integer base = given[1] ? python_index(*given[1], "base") : 10;
  if (base != 0 && (base < 2 || base > 36)) return fallback;
  if (value.is_undefined()) fail("{}", value.undefined_message());
  if (value.is_integral()) return Value::integer(value.as_integer());
  std::optional<double> real;
  if (value.is(Kind::kFloat)) real = value.as_real();
  if (value.is_string()) {
    if (const auto number = parse_integer(value.text(), static_cast<int>(base)))
      return Value::integer(*number);
    real = parse_real(value.text());
  }
  const auto number = real ? truncated(*real) : std::nullopt;
  return number ? Value::integer(*number) : fallback;
}

Value to_float(Runtime&, const Value& value, Arguments& arguments) {
  const auto given = arguments.take("float", {"default"});
  if (value.is_undefined()) fail("{}", value.undefined_message());
  if (value.is_number()) return Value::real(value.as_real());
  if (value.is_string())
    if (const auto number = parse_real(value.text())) return Value::real(*number);
  return given[0].value_or(Value::real(0));
}

// Python's round(): the decimal value nearest to the exact binary one, ties to even.
Value round_half_even(const Value& value, Integer precision) {
  if (value.is_integral() && precision >= 0) return Value::integer(value.as_integer());
  if (precision < -40 || precision > 400) return precision > 0 ? value : Value::real(0);
  if (precision < 0) {
    const double unit = std::pow(10.0, static_cast<double>(-precision));
    const double rounded = std::nearbyint(value.as_real() / unit) * unit;
    return value.is_integral() ? Value::integer(static_cast<Integer>(rounded)) : Value::real(rounded);
  }
  if (!std::isfinite(value.as_real())) return value;
  const std::string text = fmt::format("{:.{}f}", value.as_real(), static_cast<int>(precision));
  return Value::real(std::strtod(text.c_str(), nullptr));
}

Value round(Runtime&, const Value& value, Arguments& arguments) {
  const auto given = arguments.take("round", {"precision", "method"});
  const Integer precision = given[0] ? python_index(*given[0], "precision") : 0;
  const std::string method = given[1] ? str_of(*given[1]) : "common";
  if (!value.is_number()) not_a_number("round", value);
  if (method == "common") return round_half_even(value, precision);
  if (method != "ceil" && method != "floor") fail("method must be common, ceil or floor");
  const double unit = std::pow(10.0, static_cast<double>(precision));
  const double scaled = value.as_real() * unit;
  return Value::real((method == "ceil" ? std::ceil(scaled) : std::floor(scaled)) / unit);
}

Value file_size(Runtime&, const Value& value, Arguments& arguments) {
  const auto given = arguments.take("filesizeformat", {"binary"});
  const bool binary_units = given[0] && given[0]->truth();
  std::optional<double> bytes;
  if (value.is_number()) bytes = value.as_real();
  if (value.is_string()) bytes = parse_real(value.text());
  if (!bytes) not_a_number("filesizeformat", value);
  const double base = binary_units ? 1024 : 1000;
  if (*bytes == 1) return text_value("1 Byte");
  if (*bytes < base) return text_value(fmt::format("{} Bytes", static_cast<int64_t>(*bytes)));
  double unit = base;
  std::string prefix;
  for (char letter : std::string_view("kMGTPEZY")) {
    unit *= base;
    prefix =
        binary_units ? std::string(1, letter == 'k' ? 'K' : letter) + "iB" : std::string(1, letter) + "B";
    if (*bytes < unit) break;
  }
  return text_value(fmt::format("{:.1f} {}", base * *bytes / unit, prefix));
}

Value sum(Runtime&, const Value& value, Arguments& arguments) {
  const auto given = arguments.take("sum", {"attribute", "start"});
  Value total = given[1].value_or(Value::integer(0));
  if (total.is_string()) fail("sum() can't sum strings");
  const bool by_attribute = given[0] && !given[0]->is_none();
  for (const auto walked = iterate(value); const Value& item : walked->items)
    total = binary(BinaryOp::kAdd, total, by_attribute ? attribute_at(item, *given[0]) : item);
  return total;
}

template <int kSign>
Value extreme(Runtime&, const Value& value, Arguments& arguments) {
  const auto given = arguments.take(kSign < 0 ? "min" : "max", {"case_sensitive", "attribute"});
  const bool case_sensitive = given[0] && given[0]->truth();
  const bool by_attribute = given[1] && !given[1]->is_none();
  const auto items = iterate(value);
  if (items->items.empty()) return Value::undefined("No aggregated item, sequence was empty.");
  const auto key_of = [&](const Value& item) {
    return comparison_key(by_attribute ? attribute_at(item, *given[1]) : item, case_sensitive);
  };
  const Value* best = &items->items[0];
  Value best_key = key_of(*best);
  for (size_t i = 1; i < items->items.size(); ++i) {
    Value key = key_of(items->items[i]);
    if (order(key, best_key, kSign < 0 ? "<" : ">").value_or(0) != kSign) continue;
    best = &items->items[i];
    best_key = std::move(key);
  }
  return *best;
}

constexpr FilterEntry kFilters[] = {
    {"abs", absolute},   {"filesizeformat", file_size}, {"float", to_float}, {"int", to_int},
    {"max", extreme<1>}, {"min", extreme<-1>},          {"round", round},    {"sum", sum},
};

}  // namespace

std::span<const FilterEntry> number_filters() {
  return kFilters;
}

}  // namespace llmhost::text::jinja
