// Grammars in the GBNF notation: rules "name ::= ...", literals, classes of characters, repetitions, groups,
// comments.
#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "core/error.h"
#include "text/grammar/character_classes.h"
#include "text/grammar/sources.h"
#include "text/tokenizer_utf8.h"

namespace llmhost::text::grammar {
namespace {

bool is_name_character(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

class Parser {
 public:
  Parser(std::string_view text, Budget& budget) : in_(text, "ebnf"), budget_(budget) {}

  RuleSet parse() {
    skip_space(true);
    while (!in_.at_end()) {
      parse_rule();
      skip_space(true);
    }
    for (const auto& [name, known] : names_)
      if (set_.rules[static_cast<size_t>(known.number)].expression == nullptr)
        in_.fail_at(known.offset, fmt::format("rule '{}' is used but not defined", name));
    const auto root = names_.find("root");
    if (root == names_.end()) throw_invalid("ebnf: there is no rule named 'root'");
    set_.root = root->second.number;
    return std::move(set_);
  }

 private:
  static constexpr int kMostDepth = 200;
  struct Name {
    int32_t number = 0;
    size_t offset = 0;  // of the first use
  };

  void skip_space(bool over_lines);
  std::string_view take_name();
  int32_t number_of(const std::string& name, size_t offset);
  void parse_rule();
  Expr parse_alternatives(int depth);
  Expr parse_sequence(int depth);
  Expr parse_one(int depth);
  Expr parse_repeat(Expr part);
  Expr parse_literal();

  PatternReader in_;
  Budget& budget_;
  RuleSet set_;
  std::map<std::string, Name> names_;
};

void Parser::skip_space(bool over_lines) {
  for (;;) {
    if (in_.take(" ") || in_.take("\t")) continue;
    if (over_lines && (in_.take("\n") || in_.take("\r"))) continue;
    if (!in_.take("#")) return;
    while (!in_.at_end() && in_.peek() != '\n' && in_.peek() != '\r') in_.take_character();
  }
}

std::string_view Parser::take_name() {
  const size_t begin = in_.offset();
  while (!in_.at_end() && is_name_character(in_.peek())) in_.take_character();
  return in_.since(begin);
}

int32_t Parser::number_of(const std::string& name, size_t offset) {
  const auto [entry, is_new] = names_.try_emplace(name, Name{0, offset});
  if (is_new) entry->second.number = set_.add(name);
  budget_.work(1);
  return entry->second.number;
}

void Parser::parse_rule() {
  const size_t begin = in_.offset();
  const std::string name(take_name());
  if (name.empty()) in_.fail("the name of a rule was expected");
  skip_space(false);
  if (!in_.take("::=")) in_.fail("'::=' was expected");
  skip_space(true);
  const auto number = static_cast<size_t>(number_of(name, begin));
  if (set_.rules[number].expression != nullptr)
    in_.fail_at(begin, fmt::format("rule '{}' is defined twice", name));
  Expr expression = parse_alternatives(0);
  set_.rules[number].expression = std::move(expression);
  if (!in_.at_end() && in_.peek() != '\n' && in_.peek() != '\r')
    in_.fail("a rule ends with its line; this does not belong to it");
}

Expr Parser::parse_alternatives(int depth) {
  if (depth > kMostDepth) in_.fail(fmt::format("groups are nested deeper than {}", kMostDepth));
  std::vector<Expr> parts{parse_sequence(depth)};
  for (;;) {
    // A line that begins with '|' goes on with the rule.
    const PatternReader before = in_;
    skip_space(true);
    if (!in_.take("|")) {
      if (depth == 0) in_ = before;
      break;
    }
    skip_space(true);
    parts.push_back(parse_sequence(depth));
  }
  return alternatives(std::move(parts));
}

Expr Parser::parse_sequence(int depth) {
  std::vector<Expr> parts;
  for (;;) {
    skip_space(depth > 0);
    const char c = in_.peek();
    const bool goes_on =
        !in_.at_end() && (c == '"' || c == '[' || c == '(' || c == '.' || is_name_character(c));
    if (!goes_on) return sequence(std::move(parts));
    parts.push_back(parse_repeat(parse_one(depth)));
  }
}

Expr Parser::parse_one(int depth) {
  const size_t begin = in_.offset();
  if (in_.take("\"")) return parse_literal();
  if (in_.take("[")) return character_of(read_class(in_).narrow);
  if (in_.take(".")) return character_of(CodeSet{{0, kLastCodePoint}});
  if (in_.take("(")) {
    Expr group = parse_alternatives(depth + 1);
    if (!in_.take(")")) in_.fail_at(begin, "a '(' has no closing ')'");
    return group;
  }
  return rule(number_of(std::string(take_name()), begin));
}

Expr Parser::parse_literal() {
  std::string bytes;
  while (!in_.take("\"")) {
    if (in_.at_end() || in_.peek() == '\n') in_.fail("a literal has no closing '\"'");
    if (!in_.take("\\")) {
      append_utf8(bytes, in_.take_character());
      continue;
    }
    const size_t begin = in_.offset();
    const CodeSet set = read_escape(in_).narrow;
    if (set.ranges().size() != 1 || set.ranges()[0].first != set.ranges()[0].last)
      in_.fail_at(begin, "a literal cannot hold a class of characters");
    append_utf8(bytes, set.ranges()[0].first);
  }
  budget_.work(bytes.size());
  return bytes_of(bytes);
}

Expr Parser::parse_repeat(Expr part) {
  for (;;) {
    if (in_.take("*")) {
      part = repeat(std::move(part), 0, Expression::kNoLimit);
    } else if (in_.take("+")) {
      part = repeat(std::move(part), 1, Expression::kNoLimit);
    } else if (in_.take("?")) {
      part = optional(std::move(part));
    } else if (in_.take("{")) {
      skip_space(false);
      const int64_t least = in_.take_number();
      skip_space(false);
      const bool has_comma = in_.take(",");
      skip_space(false);
      const int64_t most = has_comma ? in_.take_number() : least;
      skip_space(false);
      if (!in_.take("}") || (least < 0 && most < 0)) in_.fail("a repetition is {m}, {m,}, {,n} or {m,n}");
      if (most >= 0 && most < least) in_.fail("the repetition ends below its beginning");
      part = repeat(std::move(part), std::max<int64_t>(least, 0), most < 0 ? Expression::kNoLimit : most);
    } else {
      return part;
    }
  }
}

}  // namespace

RuleSet read_ebnf(std::string_view text, Budget& budget) {
  return Parser(text, budget).parse();
}

}  // namespace llmhost::text::grammar
