// Hopcroft's algorithm: classes of states are split by which of them lead into another class, until no split
// is left to make. Of a class that was split only the smaller part needs to be looked at again.
#include <algorithm>
#include <array>
#include <utility>

#include "text/grammar/automaton.h"

namespace llmhost::text::grammar {
namespace {

constexpr int32_t kNone = -1;

void push_edge(std::vector<Edge>& edges, int first, int last, int32_t target) {
  if (!edges.empty() && edges.back().target == target && edges.back().last + 1 == first)
    edges.back().last = static_cast<uint8_t>(last);
  else
    edges.push_back({static_cast<uint8_t>(first), static_cast<uint8_t>(last), target});
}

// States from which one that accepts is reached.
std::vector<bool> live_states(const Automaton& automaton) {
  const size_t n = automaton.states.size();
  std::vector<std::vector<int32_t>> sources(n);
  std::vector<bool> live(n, false);
  std::vector<int32_t> todo;
  for (size_t i = 0; i < n; ++i) {
    const Automaton::State& state = automaton.states[i];
    for (const Edge& edge : state.edges)
      sources[static_cast<size_t>(edge.target)].push_back(static_cast<int32_t>(i));
    for (const Call& call : state.calls)
      sources[static_cast<size_t>(call.target)].push_back(static_cast<int32_t>(i));
    if (state.accepts) {
      live[i] = true;
      todo.push_back(static_cast<int32_t>(i));
    }
  }
  while (!todo.empty()) {
    const auto state = static_cast<size_t>(todo.back());
    todo.pop_back();
    for (const int32_t source : sources[state])
      if (!live[static_cast<size_t>(source)]) {
        live[static_cast<size_t>(source)] = true;
        todo.push_back(source);
      }
  }
  return live;
}

// The automaton with states replaced by their class, from the start on; dead states have class kNone.
Automaton merge(const Automaton& automaton, const std::vector<int32_t>& class_of) {
  Automaton out;
  if (automaton.states.empty() || class_of[0] == kNone) return out;
  std::vector<int32_t> number(automaton.states.size(), kNone);  // of a class
  std::vector<size_t> one_of;                                   // a state of each numbered class
  const auto number_of = [&](int32_t state) {
    const int32_t its_class = class_of[static_cast<size_t>(state)];
    if (its_class == kNone) return kNone;
    int32_t& n = number[static_cast<size_t>(its_class)];
    if (n == kNone) {
      n = static_cast<int32_t>(one_of.size());
      one_of.push_back(static_cast<size_t>(state));
    }
    return n;
  };
  number_of(0);
  for (size_t i = 0; i < one_of.size(); ++i) {
    const Automaton::State& from = automaton.states[one_of[i]];
    Automaton::State to;
    to.accepts = from.accepts;
    for (const Edge& edge : from.edges)
      if (const int32_t target = number_of(edge.target); target != kNone)
        push_edge(to.edges, edge.first, edge.last, target);
    for (const Call& call : from.calls)
      if (const int32_t target = number_of(call.target); target != kNone)
        to.calls.push_back({call.rule, target});
    out.states.push_back(std::move(to));
  }
  return out;
}

class Partition {
 public:
  // Two classes at first, by `accepts`; dead states are in none.
  Partition(const Automaton& automaton, const std::vector<bool>& live)
      : class_of_(live.size(), kNone), place_(live.size()) {
    for (const bool accepts : {false, true}) {
      const size_t begin = states_.size();
      for (size_t i = 0; i < live.size(); ++i)
        if (live[i] && automaton.states[i].accepts == accepts) {
          class_of_[i] = static_cast<int32_t>(begins_.size());
          place_[i] = states_.size();
          states_.push_back(static_cast<int32_t>(i));
        }
      if (states_.size() > begin)
        begins_.push_back(begin), ends_.push_back(states_.size()), marked_.push_back(0);
    }
  }

  size_t n_classes() const { return begins_.size(); }
  const std::vector<int32_t>& class_of() const { return class_of_; }
  std::span<const int32_t> members(size_t number) const {
    return std::span(states_).subspan(begins_[number], ends_[number] - begins_[number]);
  }
  size_t size(size_t number) const { return ends_[number] - begins_[number]; }

  void mark(int32_t state) {
    const auto number = static_cast<size_t>(class_of_[static_cast<size_t>(state)]);
    const size_t to = begins_[number] + marked_[number];
    const size_t from = place_[static_cast<size_t>(state)];
    if (from < to) return;  // is already
    if (marked_[number]++ == 0) touched_.push_back(number);
    std::swap(states_[from], states_[to]);
    place_[static_cast<size_t>(states_[from])] = from;
    place_[static_cast<size_t>(states_[to])] = to;
  }

  // Parts what is marked from what is not; calls done(old class, new class) for each class that was split.
  template <class Done>
  void split(const Done& done) {
    for (const size_t number : touched_) {
      const size_t n = std::exchange(marked_[number], 0);
      if (n == size(number)) continue;
      const size_t added = begins_.size();
      begins_.push_back(begins_[number]);
      ends_.push_back(begins_[number] + n);
      marked_.push_back(0);
      begins_[number] += n;
      for (const int32_t state : members(added))
        class_of_[static_cast<size_t>(state)] = static_cast<int32_t>(added);
      done(number, added);
    }
    touched_.clear();
  }

 private:
  std::vector<int32_t> class_of_;
  std::vector<size_t> place_;    // of a state in states_
  std::vector<int32_t> states_;  // class by class, the marked ones of each first
  std::vector<size_t> begins_, ends_, marked_;
  std::vector<size_t> touched_;
};

// What leads to each state: symbols are kinds of bytes, then rules.
class Sources {
 public:
  struct Source {
    int32_t symbol;
    int32_t state;
  };

  Sources(const Automaton& automaton, const std::vector<bool>& live, Budget& budget)
      : begins_(live.size() + 1, 0) {
    find_kinds(automaton);
    const auto each = [&](const auto& take) {
      for (size_t i = 0; i < live.size(); ++i) {
        if (!live[i]) continue;
        for (const Edge& edge : automaton.states[i].edges)
          for (int kind = kind_of_[edge.first]; kind <= kind_of_[edge.last]; ++kind)
            take(edge.target, kind, static_cast<int32_t>(i));
        for (const Call& call : automaton.states[i].calls)
          take(call.target, 256 + call.rule, static_cast<int32_t>(i));
      }
    };
    each([&](int32_t target, int, int32_t) { ++begins_[static_cast<size_t>(target) + 1]; });
    for (size_t i = 1; i < begins_.size(); ++i) begins_[i] += begins_[i - 1];
    budget.work(begins_.back());
    sources_.resize(begins_.back());
    std::vector<size_t> next(begins_.begin(), begins_.end() - 1);
    each([&](int32_t target, int symbol, int32_t from) {
      sources_[next[static_cast<size_t>(target)]++] = {symbol, from};
    });
  }

  std::span<const Source> of(int32_t state) const {
    const auto i = static_cast<size_t>(state);
    return std::span(sources_).subspan(begins_[i], begins_[i + 1] - begins_[i]);
  }

 private:
  void find_kinds(const Automaton& automaton) {
    std::array<bool, 257> begins{};
    for (const Automaton::State& state : automaton.states)
      for (const Edge& edge : state.edges) begins[edge.first] = begins[size_t{edge.last} + 1] = true;
    int kind = 0;
    for (size_t byte = 0; byte < 256; ++byte) {
      if (begins[byte] && byte > 0) ++kind;
      kind_of_[byte] = kind;
    }
  }

  std::array<int, 256> kind_of_{};
  std::vector<size_t> begins_;
  std::vector<Source> sources_;
};

std::vector<int32_t> equivalent_states(const Automaton& automaton, Budget& budget) {
  const std::vector<bool> live = live_states(automaton);
  const Sources sources(automaton, live, budget);
  Partition partition(automaton, live);
  std::vector<size_t> todo;
  std::vector<bool> is_waiting(live.size() + 2, false);
  const auto wait = [&](size_t number) {
    if (is_waiting[number]) return;
    is_waiting[number] = true;
    todo.push_back(number);
  };
  for (size_t i = 0; i < partition.n_classes(); ++i) wait(i);
  std::vector<Sources::Source> into;
  while (!todo.empty()) {
    const size_t now = todo.back();
    todo.pop_back();
    is_waiting[now] = false;
    into.clear();
    for (const int32_t state : partition.members(now)) {
      const auto its = sources.of(state);
      into.insert(into.end(), its.begin(), its.end());
    }
    budget.work(into.size());
    std::sort(into.begin(), into.end(), [](const auto& a, const auto& b) { return a.symbol < b.symbol; });
    for (size_t begin = 0, end = 0; begin < into.size(); begin = end) {
      for (end = begin; end < into.size() && into[end].symbol == into[begin].symbol; ++end)
        partition.mark(into[end].state);
      partition.split([&](size_t old, size_t added) {
        if (is_waiting[old] || partition.size(added) <= partition.size(old))
          wait(added);
        else
          wait(old);
      });
    }
  }
  return partition.class_of();
}

}  // namespace

Automaton minimise(const Automaton& automaton, Budget& budget) {
  return merge(automaton, equivalent_states(automaton, budget));
}

}  // namespace llmhost::text::grammar
