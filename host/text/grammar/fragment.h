// Writes expressions into an Nfa.
#pragma once

#include <functional>
#include <vector>

#include "text/grammar/expression.h"

namespace llmhost::text::grammar {

// How a rule that is mentioned is written.
struct RuleUse {
  bool may_be_empty = false;
  bool may_have_text = true;            // some that is not empty
  const Automaton* in_place = nullptr;  // written out here instead of called
};

class FragmentWriter {
 public:
  // `make_rule` makes a rule of a part that is repeated too often to be written out; null: it always is.
  FragmentWriter(Nfa& nfa, std::function<RuleUse(int32_t)> use, std::function<int32_t(const Expr&)> make_rule)
      : nfa_(nfa), use_(std::move(use)), make_rule_(std::move(make_rule)) {}

  // The state that is reached after the expression.
  int32_t write(const Expression& expression, int32_t from);

 private:
  int32_t write_alternatives(const Expression& expression, int32_t from);
  int32_t write_repeat(const Expression& expression, int32_t from);
  int32_t write_rule(int32_t rule, int32_t from);
  void write_characters(const CodeSet& set, int32_t from, int32_t to);
  void write_automaton(const Automaton& automaton, int32_t from, int32_t to);

  Nfa& nfa_;
  std::function<RuleUse(int32_t)> use_;
  std::function<int32_t(const Expr&)> make_rule_;
};

// Whether an expression allows the empty text, and whether it allows any other.
struct Possible {
  bool empty = false;
  bool text = false;
  bool operator==(const Possible&) const = default;
  bool any() const { return empty || text; }
};
// Given what its rules allow.
Possible possible(const Expression& expression, const std::vector<Possible>& rules);
// States that it needs when it is written out, up to `most`.
size_t size_of(const Expression& expression, size_t most);

}  // namespace llmhost::text::grammar
