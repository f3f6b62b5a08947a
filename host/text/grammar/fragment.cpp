#include "text/grammar/fragment.h"

#include <algorithm>

#include "core/error.h"

namespace llmhost::text::grammar {
namespace {

using Kind = Expression::Kind;

// Copies of a part are written out up to so many states; beyond, each is a call.
constexpr size_t kMostCopiedStates = 512;
constexpr int64_t kMostRepeats = 100'000;

}  // namespace

int32_t FragmentWriter::write(const Expression& expression, int32_t from) {
  switch (expression.kind) {
    case Kind::kBytes:
      return nfa_.add_bytes(from, expression.bytes);
    case Kind::kCharacter: {
      const int32_t to = nfa_.add_state();
      write_characters(expression.set, from, to);
      return to;
    }
    case Kind::kSequence:
      for (const Expr& part : expression.parts) from = write(*part, from);
      return from;
    case Kind::kAlternatives:
      return write_alternatives(expression, from);
    case Kind::kRepeat:
      return write_repeat(expression, from);
    case Kind::kRule:
      return write_rule(expression.rule, from);
    case Kind::kAutomaton: {
      const int32_t to = nfa_.add_state();
      write_automaton(expression.automaton, from, to);
      return to;
    }
  }
  return from;
}

void FragmentWriter::write_characters(const CodeSet& set, int32_t from, int32_t to) {
  constexpr size_t kManyRanges = 16;
  if (set.ranges().size() < kManyRanges) {
    add_characters(nfa_, from, set, to);
    return;
  }
  // Most of the bytes of many ranges end alike.
  Nfa own(nfa_.budget());
  const int32_t begin = own.add_state();
  const int32_t end = own.add_state();
  add_characters(own, begin, set, end);
  write_automaton(determinise(own, begin, end), from, to);
}

void FragmentWriter::write_automaton(const Automaton& automaton, int32_t from, int32_t to) {
  std::vector<int32_t> states;
  for (size_t i = 0; i < automaton.states.size(); ++i) states.push_back(nfa_.add_state());
  const auto at = [&](int32_t state) { return states[static_cast<size_t>(state)]; };
  for (size_t i = 0; i < automaton.states.size(); ++i) {
    for (const Edge& edge : automaton.states[i].edges)
      nfa_.add_edge(states[i], edge.first, edge.last, at(edge.target));
    for (const Call& call : automaton.states[i].calls)
      nfa_.add_move(write_rule(call.rule, states[i]), at(call.target));
    if (automaton.states[i].accepts) nfa_.add_move(states[i], to);
  }
  if (!states.empty()) nfa_.add_move(from, states[0]);
}

int32_t FragmentWriter::write_alternatives(const Expression& expression, int32_t from) {
  const int32_t to = nfa_.add_state();
  for (const Expr& part : expression.parts) {
    // A state of its own: what the part comes back to is not the others' beginning.
    const int32_t begin = nfa_.add_state();
    nfa_.add_move(from, begin);
    nfa_.add_move(write(*part, begin), to);
  }
  return to;
}

int32_t FragmentWriter::write_repeat(const Expression& expression, int32_t from) {
  const int64_t copies = expression.most == Expression::kNoLimit ? expression.least + 1 : expression.most;
  if (copies > kMostRepeats)
    throw_error(ErrorCode::kResourceExhausted, "grammar: a repetition of {} is beyond the limit of {}",
                copies, kMostRepeats);
  Expr part = expression.parts[0];
  if (copies > 2 && make_rule_ != nullptr && part->kind != Kind::kRule) {
    const size_t most = kMostCopiedStates / static_cast<size_t>(copies);
    if (size_of(*part, most + 1) > most) part = rule(make_rule_(part));
  }
  const int32_t end = nfa_.add_state();
  for (int64_t i = 0; i < expression.least; ++i) from = write(*part, from);
  if (expression.most == Expression::kNoLimit) {
    const int32_t loop = nfa_.add_state();
    nfa_.add_move(from, loop);
    nfa_.add_move(write(*part, loop), loop);
    nfa_.add_move(loop, end);
    return end;
  }
  for (int64_t i = expression.least; i < expression.most; ++i) {
    nfa_.add_move(from, end);
    from = write(*part, from);
  }
  nfa_.add_move(from, end);
  return end;
}

int32_t FragmentWriter::write_rule(int32_t number, int32_t from) {
  const int32_t to = nfa_.add_state();
  const RuleUse use = use_(number);
  if (use.in_place != nullptr) {
    write_automaton(*use.in_place, from, to);
    return to;
  }
  if (use.may_have_text) nfa_.add_call(from, number, to);
  if (use.may_be_empty) nfa_.add_move(from, to);
  return to;
}

namespace {

// Follows edges, and calls of what may have text. (Calls of what may be empty are not made of automata.)
Possible possible_of(const Automaton& automaton, const std::vector<Possible>& rules) {
  Possible out;
  if (automaton.is_empty()) return out;
  out.empty = automaton.states[0].accepts;
  std::vector<bool> seen(automaton.states.size(), false);
  std::vector<int32_t> todo{0};
  const auto reach = [&](int32_t state) {
    const auto i = static_cast<size_t>(state);
    out.text = out.text || automaton.states[i].accepts;
    if (!seen[i]) todo.push_back(state);
    seen[i] = true;
  };
  while (!todo.empty() && !out.text) {
    const Automaton::State& state = automaton.states[static_cast<size_t>(todo.back())];
    todo.pop_back();
    for (const Edge& edge : state.edges) reach(edge.target);
    for (const Call& call : state.calls)
      if (rules[static_cast<size_t>(call.rule)].any()) reach(call.target);
  }
  return out;
}

}  // namespace

Possible possible(const Expression& expression, const std::vector<Possible>& rules) {
  Possible out;
  switch (expression.kind) {
    case Kind::kBytes:
      return {expression.bytes.empty(), !expression.bytes.empty()};
    case Kind::kCharacter:
      return {false, !expression.set.ranges().empty()};
    case Kind::kSequence:
      out.empty = true;
      for (const Expr& part : expression.parts) {
        const Possible its = possible(*part, rules);
        out = {out.empty && its.empty, (out.text && its.any()) || (out.any() && its.text)};
      }
      return out;
    case Kind::kAlternatives:
      for (const Expr& part : expression.parts) {
        const Possible its = possible(*part, rules);
        out = {out.empty || its.empty, out.text || its.text};
      }
      return out;
    case Kind::kRepeat:
      out = possible(*expression.parts[0], rules);
      return {out.empty || expression.least == 0, out.text && expression.most != 0};
    case Kind::kRule:
      return rules[static_cast<size_t>(expression.rule)];
    case Kind::kAutomaton:
      return possible_of(expression.automaton, rules);
  }
  return out;
}

size_t size_of(const Expression& expression, size_t most) {
  size_t size = 1;
  switch (expression.kind) {
    case Kind::kBytes:
      return std::min(most, expression.bytes.size());
    case Kind::kCharacter:
      for (const CodeRange& range : expression.set.ranges()) size += range.last < 0x80 ? 0 : 3;
      return std::min(most, size);
    case Kind::kRule:
      return 1;
    case Kind::kAutomaton:
      return std::min(most, expression.automaton.states.size());
    case Kind::kSequence:
    case Kind::kAlternatives:
    case Kind::kRepeat:
      break;
  }
  for (const Expr& part : expression.parts) {
    if (size >= most) return most;
    size += size_of(*part, most - size);
  }
  if (expression.kind != Kind::kRepeat) return std::min(most, size);
  const int64_t copies = std::max<int64_t>({expression.least + 1, expression.most, 1});
  return static_cast<uint64_t>(copies) > most / size ? most
                                                     : std::min(most, size * static_cast<size_t>(copies));
}

}  // namespace llmhost::text::grammar
