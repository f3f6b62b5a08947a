#include "text/grammar/expression.h"

#include "core/error.h"
#include "text/grammar/fragment.h"

namespace llmhost::text::grammar {
namespace {

using Kind = Expression::Kind;

Expr make(Expression expression) {
  return std::make_shared<const Expression>(std::move(expression));
}

}  // namespace

Expr bytes_of(std::string_view bytes) {
  return make({.kind = Kind::kBytes, .bytes = std::string(bytes)});
}

Expr character_of(CodeSet set) {
  return make({.kind = Kind::kCharacter, .set = std::move(set)});
}

Expr sequence(std::vector<Expr> parts) {
  if (parts.size() == 1) return parts[0];
  return make({.kind = Kind::kSequence, .parts = std::move(parts)});
}

Expr alternatives(std::vector<Expr> parts) {
  if (parts.size() == 1) return parts[0];
  return make({.kind = Kind::kAlternatives, .parts = std::move(parts)});
}

Expr repeat(Expr part, int64_t least, int64_t most) {
  return make({.kind = Kind::kRepeat, .parts = {std::move(part)}, .least = least, .most = most});
}

Expr optional(Expr part) {
  return repeat(std::move(part), 0, 1);
}

Expr rule(int32_t number) {
  return make({.kind = Kind::kRule, .rule = number});
}

Expr automaton_of(Automaton automaton) {
  return make({.kind = Kind::kAutomaton, .automaton = std::move(automaton)});
}

Expr nothing() {
  return make({.kind = Kind::kSequence});
}

Expr never() {
  return make({.kind = Kind::kAlternatives});
}

Automaton to_automaton(const Expr& expression, Budget& budget) {
  Nfa nfa(budget);
  const int32_t start = nfa.add_state();
  const auto no_rules = [](int32_t) -> RuleUse {
    throw_error(ErrorCode::kInternal, "grammar: a rule stands where none may be called");
  };
  const int32_t end = FragmentWriter(nfa, no_rules, nullptr).write(*expression, start);
  return determinise(nfa, start, end);
}

}  // namespace llmhost::text::grammar
