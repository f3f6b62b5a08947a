#include "text/grammar/automaton.h"

#include <algorithm>
#include <map>
#include <unordered_map>

namespace llmhost::text::grammar {
namespace {

constexpr int32_t kNone = -1;

struct VectorHash {
  size_t operator()(const std::vector<int32_t>& values) const {
    uint64_t hash = 0x9E3779B97F4A7C15U;
    for (const int32_t value : values)
      hash = (hash ^ static_cast<uint32_t>(value)) * 0xFF51AFD7ED558CCDU ^ hash >> 29;
    return hash;
  }
};

// Turns sets of states into numbers.
class SetNumbers {
 public:
  explicit SetNumbers(Budget& budget) : budget_(budget) {}
  int32_t number_of(std::vector<int32_t> set) {
    const auto [entry, is_new] = numbers_.try_emplace(std::move(set), static_cast<int32_t>(sets_.size()));
    if (is_new) {
      budget_.spend();
      sets_.push_back(&entry->first);
    }
    return entry->second;
  }
  const std::vector<int32_t>& set(size_t number) const { return *sets_[number]; }
  size_t size() const { return sets_.size(); }

 private:
  Budget& budget_;
  std::unordered_map<std::vector<int32_t>, int32_t, VectorHash> numbers_;
  std::vector<const std::vector<int32_t>*> sets_;
};

// States reached from a set without reading, sorted.
class Closure {
 public:
  explicit Closure(const Nfa& nfa) : nfa_(nfa), seen_(nfa.states().size(), 0) {}

  std::vector<int32_t> of(std::span<const int32_t> states) {
    ++round_;
    std::vector<int32_t> all;
    for (const int32_t state : states) add(state, all);
    for (size_t i = 0; i < all.size(); ++i)
      for (const int32_t next : nfa_.states()[static_cast<size_t>(all[i])].moves) add(next, all);
    nfa_.budget().work(all.size());
    // What only moves on is in no language of its own.
    std::erase_if(all, [&](int32_t state) {
      const Nfa::State& s = nfa_.states()[static_cast<size_t>(state)];
      return s.edges.empty() && s.calls.empty() && state != keep_;
    });
    std::sort(all.begin(), all.end());
    return all;
  }
  void keep(int32_t state) { keep_ = state; }

 private:
  void add(int32_t state, std::vector<int32_t>& all) {
    uint32_t& seen = seen_[static_cast<size_t>(state)];
    if (seen == round_) return;
    seen = round_;
    all.push_back(state);
  }

  const Nfa& nfa_;
  std::vector<uint32_t> seen_;
  uint32_t round_ = 0;
  int32_t keep_ = kNone;
};

void push_edge(std::vector<Edge>& edges, int first, int last, int32_t target) {
  if (!edges.empty() && edges.back().target == target && edges.back().last + 1 == first)
    edges.back().last = static_cast<uint8_t>(last);
  else
    edges.push_back({static_cast<uint8_t>(first), static_cast<uint8_t>(last), target});
}

// Cuts overlapping edges at their ends; target_of numbers the set of targets of each part.
template <class TargetOf>
std::vector<Edge> cut_edges(std::vector<Edge>& edges, const TargetOf& target_of) {
  std::vector<Edge> out;
  if (edges.empty()) return out;
  std::sort(edges.begin(), edges.end());
  std::vector<int> cuts;
  for (const Edge& edge : edges) {
    cuts.push_back(edge.first);
    cuts.push_back(edge.last + 1);
  }
  std::sort(cuts.begin(), cuts.end());
  cuts.erase(std::unique(cuts.begin(), cuts.end()), cuts.end());
  std::vector<int32_t> targets;
  for (size_t i = 0; i + 1 < cuts.size(); ++i) {
    targets.clear();
    for (const Edge& edge : edges) {
      if (edge.first > cuts[i]) break;
      if (edge.last >= cuts[i]) targets.push_back(edge.target);
    }
    if (targets.empty()) continue;
    std::sort(targets.begin(), targets.end());
    targets.erase(std::unique(targets.begin(), targets.end()), targets.end());
    push_edge(out, cuts[i], cuts[i + 1] - 1, target_of(targets));
  }
  return out;
}

}  // namespace

bool Automaton::matches(std::string_view bytes) const {
  if (states.empty()) return false;
  size_t at = 0;
  for (const char c : bytes) {
    const auto byte = static_cast<uint8_t>(c);
    const auto edge = std::find_if(states[at].edges.begin(), states[at].edges.end(),
                                   [&](const Edge& e) { return e.first <= byte && byte <= e.last; });
    if (edge == states[at].edges.end()) return false;
    at = static_cast<size_t>(edge->target);
  }
  return states[at].accepts;
}

int32_t Nfa::add_bytes(int32_t from, std::string_view bytes) {
  for (const char c : bytes) {
    const int32_t next = add_state();
    add_edge(from, static_cast<uint8_t>(c), static_cast<uint8_t>(c), next);
    from = next;
  }
  return from;
}

Automaton determinise(const Nfa& nfa, int32_t start, int32_t accept) {
  Automaton out;
  SetNumbers sets(nfa.budget());
  Closure closure(nfa);
  closure.keep(accept);
  const auto number_of = [&](const std::vector<int32_t>& states) {
    return sets.number_of(closure.of(states));
  };
  number_of({start});
  for (size_t i = 0; i < sets.size(); ++i) {
    std::vector<Edge> edges;
    std::map<int32_t, std::vector<int32_t>> calls;
    Automaton::State state;
    for (const int32_t member : sets.set(i)) {
      const Nfa::State& from = nfa.states()[static_cast<size_t>(member)];
      edges.insert(edges.end(), from.edges.begin(), from.edges.end());
      for (const Call& call : from.calls) calls[call.rule].push_back(call.target);
      if (member == accept) state.accepts = true;
    }
    nfa.budget().work(edges.size());
    state.edges = cut_edges(edges, number_of);
    for (const auto& [rule, targets] : calls) state.calls.push_back({rule, number_of(targets)});
    out.states.push_back(std::move(state));
  }
  return minimise(out, nfa.budget());
}

namespace {

// Pairs of states walked together; the second may be lost, kNone, when `needs_second` is false.
Automaton product(const Automaton& a, const Automaton& b, bool needs_second, Budget& budget) {
  Automaton out;
  if (a.is_empty() || (needs_second && b.is_empty())) return out;
  SetNumbers pairs(budget);
  pairs.number_of({0, b.is_empty() ? kNone : 0});
  for (size_t i = 0; i < pairs.size(); ++i) {
    const std::vector<int32_t> pair = pairs.set(i);
    const Automaton::State& first = a.states[static_cast<size_t>(pair[0])];
    static const Automaton::State kLost;
    const Automaton::State& second = pair[1] == kNone ? kLost : b.states[static_cast<size_t>(pair[1])];
    Automaton::State state;
    state.accepts = first.accepts && second.accepts == needs_second;
    for (const Edge& edge : first.edges) {
      int next = edge.first;
      const auto gap = [&](int last) {
        if (!needs_second && next <= last)
          push_edge(state.edges, next, last, pairs.number_of({edge.target, kNone}));
      };
      for (const Edge& other : second.edges) {
        const int begin = std::max<int>(edge.first, other.first);
        const int end = std::min(edge.last, other.last);
        if (begin > end) continue;
        gap(begin - 1);
        push_edge(state.edges, begin, end, pairs.number_of({edge.target, other.target}));
        next = end + 1;
      }
      gap(edge.last);
    }
    budget.work(first.edges.size() + second.edges.size());
    out.states.push_back(std::move(state));
  }
  return minimise(out, budget);
}

}  // namespace

Automaton intersection(const Automaton& a, const Automaton& b, Budget& budget) {
  return product(a, b, true, budget);
}

Automaton difference(const Automaton& a, const Automaton& b, Budget& budget) {
  return product(a, b, false, budget);
}

Automaton without_empty(const Automaton& automaton) {
  if (!automaton.accepts_nothing_first()) return automaton;
  // A start of its own, as the old one may be come back to.
  Automaton out;
  out.states.push_back(automaton.states[0]);
  out.states[0].accepts = false;
  for (Edge& edge : out.states[0].edges) ++edge.target;
  for (Call& call : out.states[0].calls) ++call.target;
  for (const Automaton::State& state : automaton.states) {
    out.states.push_back(state);
    for (Edge& edge : out.states.back().edges) ++edge.target;
    for (Call& call : out.states.back().calls) ++call.target;
  }
  if (out.states[0].edges.empty() && out.states[0].calls.empty()) out.states.clear();
  return out;
}

}  // namespace llmhost::text::grammar
