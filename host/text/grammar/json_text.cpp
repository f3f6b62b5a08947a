#include "text/grammar/json_text.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"
#include "text/grammar/sources.h"

namespace llmhost::text::grammar {
namespace {

constexpr int64_t kMostIndentation = 40;
constexpr int64_t kMostDigits = 60;

Expr one_of(CodeSet set) {
  return character_of(std::move(set));
}

Expr digits(int64_t least, int64_t most) {
  return repeat(one_of({{'0', '9'}}), least, most);
}

Expr hex(int64_t n) {
  return repeat(one_of({{'0', '9'}, {'A', 'F'}, {'a', 'f'}}), n, n);
}

// One character of a string: as it is, or escaped. Surrogates come in pairs.
Expr string_character() {
  const Expr plain = one_of({{0x20, 0x21}, {0x23, 0x5B}, {0x5D, kLastCodePoint}});
  const Expr letter = one_of(
      {{'"', '"'}, {'/', '/'}, {'\\', '\\'}, {'b', 'b'}, {'f', 'f'}, {'n', 'n'}, {'r', 'r'}, {'t', 't'}});
  const Expr d = one_of({{'D', 'D'}, {'d', 'd'}});
  const Expr not_d = one_of({{'0', '9'}, {'A', 'C'}, {'a', 'c'}, {'E', 'F'}, {'e', 'f'}});
  const Expr below_8 = one_of({{'0', '7'}});
  const Expr high = one_of({{'8', '9'}, {'A', 'B'}, {'a', 'b'}});
  const Expr low = one_of({{'C', 'F'}, {'c', 'f'}});
  const Expr code = alternatives({sequence({not_d, hex(3)}), sequence({d, below_8, hex(2)})});
  const Expr pair = sequence({d, high, hex(2), bytes_of("\\u"), d, low, hex(2)});
  return alternatives(
      {plain, sequence({bytes_of("\\"), letter}), sequence({bytes_of("\\u"), alternatives({code, pair})})});
}

Expr integer_part() {
  return alternatives(
      {bytes_of("0"), sequence({optional(bytes_of("-")), one_of({{'1', '9'}}), digits(0, kMostDigits)})});
}

Expr any_number() {
  const Expr whole = alternatives({integer_part(), bytes_of("-0")});
  const Expr fraction = optional(sequence({bytes_of("."), digits(1, kMostDigits)}));
  // Two digits: no double is infinite then.
  const Expr exponent = optional(
      sequence({one_of({{'E', 'E'}, {'e', 'e'}}), optional(one_of({{'+', '+'}, {'-', '-'}})), digits(1, 2)}));
  return sequence({whole, fraction, exponent});
}

bool is_escaped(int byte) {
  return byte < 0x20 || byte == '"' || byte == '\\';
}

std::string escape_of(int byte) {
  switch (byte) {
    case '\b':
      return "\\b";
    case '\f':
      return "\\f";
    case '\n':
      return "\\n";
    case '\r':
      return "\\r";
    case '\t':
      return "\\t";
    case '"':
      return "\\\"";
    case '\\':
      return "\\\\";
    default:
      return fmt::format("\\u{:04x}", byte);
  }
}

}  // namespace

JsonRules::JsonRules(RuleSet& set)
    : space(set.add(
          "space",
          alternatives({bytes_of(" "), sequence({bytes_of("\n"), repeat(one_of({{'\t', '\t'}, {' ', ' '}}), 0,
                                                                        kMostIndentation)})}))),
      character(set.add("character", string_character())),
      string(set.add("string", sequence({bytes_of("\""), repeat(string_character(), 0, Expression::kNoLimit),
                                         bytes_of("\"")}))),
      number(set.add("number", any_number())),
      integer(set.add("integer", integer_part())),
      value(set.add("value")),
      object(set.add("object")),
      array(set.add("array")) {
  for (const int32_t called : {space, character}) set.rules[static_cast<size_t>(called)].is_called = true;
  const Expr member = sequence({rule(string), colon(), rule(value)});
  const auto list_of = [&](const Expr& part) {
    return optional(sequence({part, repeat(sequence({separator(), part}), 0, Expression::kNoLimit)}));
  };
  const auto define = [&](int32_t number_of_rule, Expr expression) {
    set.rules[static_cast<size_t>(number_of_rule)].expression = std::move(expression);
  };
  define(object, bracketed(*this, '{', list_of(member), '}'));
  define(array, bracketed(*this, '[', list_of(rule(value)), ']'));
  define(value, alternatives({rule(object), rule(array), rule(string), rule(number), bytes_of("true"),
                              bytes_of("false"), bytes_of("null")}));
}

Expr JsonRules::separator() const {
  return sequence({bytes_of(","), spaces()});
}

Expr JsonRules::colon() const {
  return sequence({bytes_of(":"), optional(bytes_of(" "))});
}

Expr bracketed(const JsonRules& json, char open, Expr inside, char close) {
  return sequence({bytes_of(std::string(1, open)), json.spaces(), std::move(inside), json.spaces(),
                   bytes_of(std::string(1, close))});
}

std::string json_string(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    const auto byte = static_cast<uint8_t>(c);
    if (is_escaped(byte))
      out += escape_of(byte);
    else
      out += c;
  }
  return out + '"';
}

Expr json_value(const JsonRules& json, const OrderedJson& value) {
  if (!value.is_structured())
    return bytes_of(value.is_string() ? json_string(value.get_ref<const std::string&>()) : value.dump());
  std::vector<Expr> parts;
  for (const auto& [key, member] : value.items()) {
    if (!parts.empty()) parts.push_back(json.separator());
    if (value.is_object()) {
      parts.push_back(bytes_of(json_string(key)));
      parts.push_back(json.colon());
    }
    parts.push_back(json_value(json, member));
  }
  return value.is_object() ? bracketed(json, '{', sequence(std::move(parts)), '}')
                           : bracketed(json, '[', sequence(std::move(parts)), ']');
}

Automaton escaped(const Automaton& content, Budget& budget) {
  if (content.is_empty()) return {};
  Nfa nfa(budget);
  for (size_t i = 0; i < content.states.size(); ++i) nfa.add_state();
  const int32_t end = nfa.add_state();
  for (size_t i = 0; i < content.states.size(); ++i) {
    const auto from = static_cast<int32_t>(i);
    if (content.states[i].accepts) nfa.add_move(from, end);
    for (const Edge& edge : content.states[i].edges) {
      int next = edge.first;
      for (int byte = edge.first; byte <= edge.last; ++byte) {
        if (!is_escaped(byte)) continue;
        if (next < byte)
          nfa.add_edge(from, static_cast<uint8_t>(next), static_cast<uint8_t>(byte - 1), edge.target);
        nfa.add_move(nfa.add_bytes(from, escape_of(byte)), edge.target);
        next = byte + 1;
      }
      if (next <= edge.last) nfa.add_edge(from, static_cast<uint8_t>(next), edge.last, edge.target);
    }
  }
  return determinise(nfa, 0, end);
}

RuleSet read_json_object() {
  RuleSet set;
  set.root = JsonRules(set).object;
  return set;
}

RuleSet read_choices(std::string_view text, Budget& budget) {
  const OrderedJson list = parse_ordered_json(text, "choices");
  if (!list.is_array() || list.empty())
    throw_invalid("choices: a JSON array of one or more strings was expected");
  RuleSet set;
  std::vector<Expr> parts;
  for (size_t i = 0; i < list.size(); ++i) {
    if (!list[i].is_string()) throw_invalid("choices: entry {} is no string", i);
    budget.work(list[i].get_ref<const std::string&>().size());
    parts.push_back(bytes_of(list[i].get_ref<const std::string&>()));
  }
  set.add("choices", alternatives(std::move(parts)));
  return set;
}

}  // namespace llmhost::text::grammar
