// Finite automata over bytes, whose edges may also call a rule: the language of one rule of a grammar.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "text/grammar/budget.h"

namespace llmhost::text::grammar {

struct Edge {
  uint8_t first = 0;  // bytes first..last
  uint8_t last = 0;
  int32_t target = 0;
  bool operator==(const Edge&) const = default;
  auto operator<=>(const Edge&) const = default;
};

struct Call {
  int32_t rule = 0;
  int32_t target = 0;
  bool operator==(const Call&) const = default;
  auto operator<=>(const Call&) const = default;
};

// Deterministic: no two edges of a state share a byte, no two calls a rule. Every state is on a way from the
// start, state 0, to one that accepts. Without states it accepts nothing.
struct Automaton {
  struct State {
    std::vector<Edge> edges;  // sorted
    std::vector<Call> calls;  // sorted
    bool accepts = false;
  };
  std::vector<State> states;

  bool is_empty() const { return states.empty(); }
  bool accepts_nothing_first() const { return !states.empty() && states[0].accepts; }  // the empty text
  bool matches(std::string_view bytes) const;                                          // without calls
};

// Any edges, and moves that read nothing.
class Nfa {
 public:
  struct State {
    std::vector<Edge> edges;
    std::vector<Call> calls;
    std::vector<int32_t> moves;
  };

  explicit Nfa(Budget& budget) : budget_(budget) {}

  int32_t add_state() {
    budget_.spend();
    states_.emplace_back();
    return static_cast<int32_t>(states_.size()) - 1;
  }
  void add_edge(int32_t from, uint8_t first, uint8_t last, int32_t to) {
    at(from).edges.push_back({first, last, to});
  }
  void add_call(int32_t from, int32_t rule, int32_t to) { at(from).calls.push_back({rule, to}); }
  void add_move(int32_t from, int32_t to) { at(from).moves.push_back(to); }
  // The state after these bytes.
  int32_t add_bytes(int32_t from, std::string_view bytes);

  const std::vector<State>& states() const { return states_; }
  Budget& budget() const { return budget_; }

 private:
  State& at(int32_t state) { return states_[static_cast<size_t>(state)]; }

  std::vector<State> states_;
  Budget& budget_;
};

// The smallest deterministic automaton of what leads from `start` to `accept`.
Automaton determinise(const Nfa& nfa, int32_t start, int32_t accept);

// Of automata without calls.
Automaton intersection(const Automaton& a, const Automaton& b, Budget& budget);
Automaton difference(const Automaton& a, const Automaton& b, Budget& budget);

// The same language without the empty text.
Automaton without_empty(const Automaton& automaton);

// Merges states with the same future, drops those that lead nowhere, numbers in order
// of first visit.
Automaton minimise(const Automaton& automaton, Budget& budget);

}  // namespace llmhost::text::grammar
