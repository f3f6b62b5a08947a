// What a rule of a grammar says, as every source language is read into.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "text/grammar/automaton.h"
#include "text/grammar/code_points.h"

namespace llmhost::text::grammar {

struct Expression;
using Expr = std::shared_ptr<const Expression>;

struct Expression {
  enum class Kind {
    kBytes,         // these
    kCharacter,     // one of a set
    kSequence,      // the parts one after the other; without parts nothing
    kAlternatives,  // one of the parts; without parts what can never be
    kRepeat,        // parts[0], `least` to `most` times
    kRule,
    kAutomaton,
  };
  static constexpr int64_t kNoLimit = -1;

  Kind kind = Kind::kSequence;
  std::string bytes = {};
  CodeSet set = {};
  std::vector<Expr> parts = {};
  int64_t least = 0;
  int64_t most = 0;
  int32_t rule = 0;
  Automaton automaton = {};
};

Expr bytes_of(std::string_view bytes);
Expr character_of(CodeSet set);
Expr sequence(std::vector<Expr> parts);
Expr alternatives(std::vector<Expr> parts);
Expr repeat(Expr part, int64_t least, int64_t most);
Expr optional(Expr part);
Expr rule(int32_t number);
Expr automaton_of(Automaton automaton);
Expr nothing();  // the empty text
Expr never();

// The automaton of an expression without rules.
Automaton to_automaton(const Expr& expression, Budget& budget);

// Rules by number; the text is what the root allows.
struct RuleSet {
  struct Rule {
    std::string name;
    Expr expression;
    bool is_called = false;  // even where it is small enough to be written out
  };
  std::vector<Rule> rules;
  int32_t root = 0;

  int32_t add(std::string name, Expr expression = nullptr) {
    rules.push_back({std::move(name), std::move(expression), false});
    return static_cast<int32_t>(rules.size()) - 1;
  }
};

}  // namespace llmhost::text::grammar
