// Numbers between bounds, as automata over their decimal digits.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>

#include "core/error.h"
#include "text/grammar/json_text.h"

namespace llmhost::text::grammar {
namespace {

// Integers of bounded schemas have at most this many digits, decimals so many in all.
constexpr int kIntegerDigits = 18;
constexpr int kDecimalDigits = 15;

Expr digit(char first, char last) {
  return character_of(CodeSet{{static_cast<char32_t>(first), static_cast<char32_t>(last)}});
}

Expr digits(int64_t least, int64_t most) {
  return repeat(digit('0', '9'), least, most);
}

// Digit strings as long as `bound` that are not below it; not above it.
Expr same_length(std::string_view bound, bool is_least) {
  // From the last digit on, so that nothing is nested deeper than the text is long.
  Expr rest = nothing();
  for (size_t i = bound.size(); i-- > 0;) {
    const char c = bound[i];
    std::vector<Expr> ways{sequence({digit(c, c), rest})};
    const auto left = static_cast<int64_t>(bound.size() - i - 1);
    if (is_least && c < '9')
      ways.push_back(sequence({digit(static_cast<char>(c + 1), '9'), digits(left, left)}));
    if (!is_least && c > '0')
      ways.push_back(sequence({digit('0', static_cast<char>(c - 1)), digits(left, left)}));
    rest = alternatives(std::move(ways));
  }
  return rest;
}

// Integers from 0 on, without leading zeros, of up to `most_digits` digits.
Automaton whole_from(const std::string& least, int most_digits, Budget& budget) {
  std::vector<Expr> ways{same_length(least, true)};
  const auto longer = static_cast<int64_t>(least.size());
  if (longer < most_digits) ways.push_back(sequence({digit('1', '9'), digits(longer, most_digits - 1)}));
  return to_automaton(alternatives(std::move(ways)), budget);
}

Automaton whole_to(const std::string& most, Budget& budget) {
  std::vector<Expr> ways{same_length(most, false)};
  const auto n = static_cast<int64_t>(most.size());
  if (n > 1) ways.push_back(sequence({digit('1', '9'), digits(0, n - 2)}));
  ways.push_back(bytes_of("0"));
  const Expr canonical = alternatives({bytes_of("0"), sequence({digit('1', '9'), digits(0, n - 1)})});
  return intersection(to_automaton(alternatives(std::move(ways)), budget), to_automaton(canonical, budget),
                      budget);
}

// Sums of digits that are multiples of the divisor, any leading zeros.
Automaton multiples(int64_t divisor, Budget& budget) {
  Nfa nfa(budget);
  const int32_t start = nfa.add_state();
  const int32_t first = start + 1;
  for (int64_t r = 0; r < divisor; ++r) nfa.add_state();
  const auto add = [&](int32_t from, int64_t remainder) {
    for (int d = 0; d < 10; ++d) {
      const auto byte = static_cast<uint8_t>('0' + d);
      nfa.add_edge(from, byte, byte, first + static_cast<int32_t>((remainder * 10 + d) % divisor));
    }
  };
  add(start, 0);
  for (int64_t r = 0; r < divisor; ++r) add(first + static_cast<int32_t>(r), r);
  return determinise(nfa, start, first);
}

// Non-negative integers of [least, most]; empty when there are none.
Automaton whole_between(int64_t least, int64_t most, const std::vector<int64_t>& divisors, Budget& budget) {
  if (least > most) return {};
  Automaton out = intersection(whole_from(std::to_string(least), kIntegerDigits, budget),
                               whole_to(std::to_string(most), budget), budget);
  for (const int64_t divisor : divisors)
    if (divisor > 1) out = intersection(out, multiples(divisor, budget), budget);
  return out;
}

Expr with_sign(Automaton negative, Automaton positive) {
  return alternatives(
      {sequence({bytes_of("-"), automaton_of(std::move(negative))}), automaton_of(std::move(positive))});
}

// A decimal number as its digits.
struct Decimal {
  bool is_negative = false;
  std::string whole;     // without leading zeros; "0"
  std::string fraction;  // without zeros at its end
};

Decimal to_decimal(double value) {
  // The shortest digits that give the same double, without an exponent.
  char buffer[400];
  const auto [end, error] =
      std::to_chars(buffer, buffer + sizeof(buffer), std::fabs(value), std::chars_format::fixed);
  std::string text(buffer, error == std::errc() ? end : buffer);
  Decimal out;
  out.is_negative = value < 0;
  const size_t point = std::min(text.find('.'), text.size());
  out.whole = text.substr(0, point);
  if (point < text.size()) out.fraction = text.substr(point + 1);
  while (out.fraction.ends_with('0')) out.fraction.pop_back();
  return out;
}

// Digits after the point that are, with what is equal before it, not below the bound's.
Expr fraction_from(const std::string& bound, bool is_open, int most_digits) {
  const auto n = static_cast<int64_t>(bound.size());
  const int64_t left = most_digits - n;
  // Behind all digits of the bound.
  Expr more = digits(0, left);
  if (is_open && left > 0) {
    std::vector<Expr> ways;
    for (int64_t zeros = 0; zeros < left; ++zeros)
      ways.push_back(
          sequence({repeat(digit('0', '0'), zeros, zeros), digit('1', '9'), digits(0, left - zeros - 1)}));
    more = alternatives(std::move(ways));
  } else if (is_open) {
    more = never();
  }
  for (int64_t i = n; i-- > 0;) {
    const char c = bound[static_cast<size_t>(i)];
    std::vector<Expr> ways{sequence({digit(c, c), more})};
    if (c < '9')
      ways.push_back(sequence({digit(static_cast<char>(c + 1), '9'), digits(0, most_digits - i - 1)}));
    more = alternatives(std::move(ways));
  }
  // With a point there is a digit.
  const Expr after_point = sequence({bytes_of("."), more});
  const Expr any_digit = sequence({bytes_of("."), digits(1, most_digits)});
  if (n > 0) return after_point;
  return is_open ? after_point : alternatives({nothing(), any_digit});
}

Expr fraction_to(const std::string& bound, bool is_open, int most_digits) {
  const auto n = static_cast<int64_t>(bound.size());
  if (n == 0) {
    if (is_open) return never();
    return optional(sequence({bytes_of("."), repeat(digit('0', '0'), 1, most_digits)}));
  }
  Expr more = is_open ? never() : repeat(digit('0', '0'), 0, most_digits - n);
  for (int64_t i = n; i-- > 0;) {
    const char c = bound[static_cast<size_t>(i)];
    std::vector<Expr> ways{sequence({digit(c, c), more})};
    if (i + 1 < n) ways.push_back(digit(c, c));  // what is left of the bound is more than nothing
    if (c > '0')
      ways.push_back(sequence({digit('0', static_cast<char>(c - 1)), digits(0, most_digits - i - 1)}));
    more = alternatives(std::move(ways));
  }
  return alternatives({nothing(), sequence({bytes_of("."), more})});
}

struct Digits {
  int whole;
  int fraction;
};

Automaton decimals_from(const Decimal& bound, bool is_open, Digits most, Budget& budget) {
  const Expr any = optional(sequence({bytes_of("."), digits(1, most.fraction)}));
  const int64_t above = std::strtoll(bound.whole.c_str(), nullptr, 10) + 1;
  std::vector<Expr> ways{
      sequence({bytes_of(bound.whole), fraction_from(bound.fraction, is_open, most.fraction)})};
  const std::string next = std::to_string(above);
  if (next.size() <= static_cast<size_t>(most.whole))
    ways.push_back(sequence({automaton_of(whole_from(next, most.whole, budget)), any}));
  return to_automaton(alternatives(std::move(ways)), budget);
}

Automaton decimals_to(const Decimal& bound, bool is_open, Digits most, Budget& budget) {
  const Expr any = optional(sequence({bytes_of("."), digits(1, most.fraction)}));
  const int64_t whole = std::strtoll(bound.whole.c_str(), nullptr, 10);
  std::vector<Expr> ways{
      sequence({bytes_of(bound.whole), fraction_to(bound.fraction, is_open, most.fraction)})};
  if (whole > 0) ways.push_back(sequence({automaton_of(whole_to(std::to_string(whole - 1), budget)), any}));
  return to_automaton(alternatives(std::move(ways)), budget);
}

// Decimals from 0 on between bounds, of which either may be missing.
Automaton positive_decimals(const Decimal* least, bool least_open, const Decimal* most, bool most_open,
                            Digits digits_of, Budget& budget) {
  const Decimal zero{false, "0", ""};
  Automaton out =
      decimals_from(least == nullptr ? zero : *least, least != nullptr && least_open, digits_of, budget);
  if (most != nullptr) out = intersection(out, decimals_to(*most, most_open, digits_of, budget), budget);
  return out;
}

}  // namespace

Expr integers(const NumberRange& range, const std::vector<int64_t>& divisors, std::string_view where,
              Budget& budget) {
  constexpr int64_t kLargest = 999'999'999'999'999'999;
  constexpr int64_t kMostDivisor = 4096;
  for (const int64_t divisor : divisors)
    if (divisor > kMostDivisor)
      throw_invalid("{}: 'multipleOf' of more than {} is not supported", where, kMostDivisor);
  const auto limit = [&](const NumberBound& bound, bool is_least) {
    constexpr double kExact = 9'007'199'254'740'992.0;  // doubles are all integers from here on
    if (std::fabs(bound.value) > kExact) {
      if ((bound.value < 0) == is_least) return is_least ? -kLargest : kLargest;
      throw_invalid("{}: a bound of {} is beyond what is supported for integers", where, bound.value);
    }
    const double rounded = is_least ? std::ceil(bound.value) : std::floor(bound.value);
    auto value = static_cast<int64_t>(rounded);
    if (bound.is_open && rounded == bound.value) value += is_least ? 1 : -1;
    return value;
  };
  const int64_t least = range.least ? limit(*range.least, true) : -kLargest;
  const int64_t most = range.most ? limit(*range.most, false) : kLargest;
  return with_sign(whole_between(std::max<int64_t>(1, -most), -least, divisors, budget),
                   whole_between(std::max<int64_t>(0, least), most, divisors, budget));
}

Expr decimals(const NumberRange& range, std::string_view where, Budget& budget) {
  std::optional<Decimal> least;
  std::optional<Decimal> most;
  int whole = range.least && range.most ? 1 : 9;
  int fraction = 6;
  const auto read = [&](const std::optional<NumberBound>& bound) -> std::optional<Decimal> {
    if (!bound) return std::nullopt;
    Decimal decimal = to_decimal(bound->value);
    whole = std::max(whole, static_cast<int>(std::min<size_t>(decimal.whole.size(), 400)));
    fraction = std::max(fraction, static_cast<int>(decimal.fraction.size()));
    return decimal;
  };
  least = read(range.least);
  most = read(range.most);
  if (whole + fraction > kDecimalDigits) {
    const size_t needed = std::max(least ? least->fraction.size() : 0, most ? most->fraction.size() : 0);
    fraction = std::max(static_cast<int>(needed), kDecimalDigits - whole);
  }
  if (whole + fraction > kDecimalDigits || fraction < 1)
    throw_invalid("{}: bounds of more than {} digits are not supported for numbers", where, kDecimalDigits);
  const Digits digits_of{whole, fraction};
  const bool least_open = range.least && range.least->is_open;
  const bool most_open = range.most && range.most->is_open;
  const Decimal zero{false, "0", ""};
  Automaton negative;
  Automaton positive;
  // -x for x of [-most, -least], but for -0.
  if (!least || least->is_negative) {
    const bool is_below = most && most->is_negative;
    negative = positive_decimals(is_below ? &*most : &zero, is_below ? most_open : true,
                                 least ? &*least : nullptr, least_open, digits_of, budget);
  }
  if (!most || !most->is_negative) {
    const bool is_above = least && !least->is_negative;
    positive = positive_decimals(is_above ? &*least : nullptr, least_open, most ? &*most : nullptr, most_open,
                                 digits_of, budget);
  }
  return with_sign(std::move(negative), std::move(positive));
}

}  // namespace llmhost::text::grammar
