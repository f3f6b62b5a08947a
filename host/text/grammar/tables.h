// The compiled form of a grammar: the automata of all its rules in one numbering.
//
// A rule's automaton never accepts the empty text: where a rule may be empty, its callers have a way around
// the call. And no rule calls itself before it has read something. So what a state may call at once is a
// finite list without cycles, in the order of `rank`.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "text/grammar/expression.h"
#include "text/grammar/grammar.h"

namespace llmhost::text {

struct Grammar::Tables {
  struct State {
    int32_t first_edge = 0;
    int32_t first_call = 0;
    bool accepts = false;
  };
  // Equal for states that allow the same texts of up to kFingerprintBytes bytes, as far as they lie in the
  // state's own rule. Different for others but with the chance of a collision of 128-bit hashes, whose seed
  // is drawn by each process.
  using Fingerprint = std::array<uint64_t, 2>;
  static constexpr int kFingerprintBytes = 32;

  std::vector<State> states;  // and one more, whose edges and calls are the ends of the last
  std::vector<grammar::Edge> edges;
  std::vector<grammar::Call> calls;
  std::vector<int32_t> starts;  // of rules
  std::vector<int32_t> rank;    // of rules; a rule's first calls are of higher rank
  std::vector<Fingerprint> fingerprints;
  std::array<uint8_t, 256> class_of{};  // bytes that no edge tells apart
  int32_t n_classes = 1;
  int32_t root = 0;
  bool may_be_empty = false;

  std::span<const grammar::Edge> edges_of(int32_t state) const {
    const auto i = static_cast<size_t>(state);
    return std::span(edges).subspan(static_cast<size_t>(states[i].first_edge),
                                    static_cast<size_t>(states[i + 1].first_edge - states[i].first_edge));
  }
  std::span<const grammar::Call> calls_of(int32_t state) const {
    const auto i = static_cast<size_t>(state);
    return std::span(calls).subspan(static_cast<size_t>(states[i].first_call),
                                    static_cast<size_t>(states[i + 1].first_call - states[i].first_call));
  }
  bool accepts(int32_t state) const { return states[static_cast<size_t>(state)].accepts; }
  // It accepts and nothing follows.
  bool is_end(int32_t state) const {
    return accepts(state) && edges_of(state).empty() && calls_of(state).empty();
  }
};

namespace grammar {

// Throws for a rule that begins with itself, and when no text is possible.
std::unique_ptr<Grammar::Tables> compile_rules(RuleSet rules, Budget& budget);

}  // namespace grammar
}  // namespace llmhost::text
