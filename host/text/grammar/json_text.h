// The parts of JSON texts as expressions. Spacing is that of the usual writers, short or over several lines:
// between tokens nothing, one space, or a line end and an indentation of up to 40 spaces or tabs.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "core/json.h"
#include "text/grammar/expression.h"

namespace llmhost::text::grammar {

// Rules that every JSON grammar has.
struct JsonRules {
  explicit JsonRules(RuleSet& set);

  int32_t space;      // one or more, between tokens
  int32_t character;  // one of a string, escapes among them
  int32_t string;
  int32_t number;
  int32_t integer;
  int32_t value;
  int32_t object;
  int32_t array;

  Expr spaces() const { return optional(rule(space)); }
  Expr separator() const;  // a comma between members
  Expr colon() const;
};

// "[" part ("," part)* "]" and the like: the brackets around what stands inside.
Expr bracketed(const JsonRules& json, char open, Expr inside, char close);

// A value as it is, spacing apart.
Expr json_value(const JsonRules& json, const OrderedJson& value);
// A JSON string in its shortest spelling.
std::string json_string(std::string_view text);

// The JSON spelling of texts of an automaton over UTF-8, without the quotes: escapes only where there must
// be some, in their shortest form.
Automaton escaped(const Automaton& content, Budget& budget);

struct NumberBound {
  double value = 0;
  bool is_open = false;  // the value itself is out
};
struct NumberRange {
  std::optional<NumberBound> least;
  std::optional<NumberBound> most;
  bool is_unlimited() const { return !least && !most; }
};
// Integers without exponent; `divisors` all divide them. `where` names the schema in errors.
Expr integers(const NumberRange& range, const std::vector<int64_t>& divisors, std::string_view where,
              Budget& budget);
// Decimal numbers without exponent, of so few digits that a double holds them.
Expr decimals(const NumberRange& range, std::string_view where, Budget& budget);

// What texts of a "format" look like; null for a name that is none of those supported.
Expr format_texts(std::string_view name);

}  // namespace llmhost::text::grammar
