#include "text/grammar/tables.h"

#include <algorithm>
#include <deque>
#include <random>

#include "core/error.h"
#include "text/grammar/fragment.h"

namespace llmhost::text::grammar {
namespace {

// Compiles rules on demand; what is small and finite is written into its callers.
class RuleCompiler {
 public:
  RuleCompiler(RuleSet rules, Budget& budget) : set_(std::move(rules)), budget_(budget) {}

  std::unique_ptr<Grammar::Tables> compile() {
    find_possible();
    const auto root = static_cast<size_t>(set_.root);
    if (!possible_[root].text)
      throw_invalid("grammar: it allows no text{}; some of its conditions contradict each other",
                    possible_[root].empty ? " but the empty one" : "");
    automata_.resize(set_.rules.size());
    mention(set_.root);
    for (size_t i = 0; i < mentioned_.size(); ++i) automaton_of_rule(mentioned_[i], 0);
    auto tables = std::make_unique<Grammar::Tables>();
    flatten(*tables);
    return tables;
  }

 private:
  enum class Progress : uint8_t { kNone, kBegun, kDone };
  struct Compiled {
    Progress progress = Progress::kNone;
    bool is_mentioned = false;
    bool in_place = false;
    Automaton automaton;  // with the empty text when in place
  };
  static constexpr int kMostDepth = 64;
  static constexpr size_t kMostStatesInPlace = 48;

  Compiled& compiled(int32_t rule) { return automata_[static_cast<size_t>(rule)]; }

  void find_possible();
  void mention(int32_t rule);
  void automaton_of_rule(int32_t rule, int depth);
  RuleUse use_of(int32_t rule, int depth);
  int32_t make_rule(const Expr& expression);
  bool is_finite(const Automaton& automaton) const;
  void flatten(Grammar::Tables& tables);
  void rank_rules(Grammar::Tables& tables, const std::vector<int32_t>& rules) const;

  RuleSet set_;
  Budget& budget_;
  std::vector<Possible> possible_;
  std::deque<Compiled> automata_;   // addresses stay
  std::vector<int32_t> mentioned_;  // rules that are called, and the root
};

void RuleCompiler::find_possible() {
  possible_.resize(set_.rules.size());
  // To and fro, as rules may be listed in either order.
  bool has_changed = true;
  for (bool is_forward = false; has_changed; is_forward = !is_forward) {
    has_changed = false;
    const size_t n = set_.rules.size();
    for (size_t turn = 0; turn < n; ++turn) {
      const size_t i = is_forward ? turn : n - 1 - turn;
      budget_.work(16);
      const Possible now = possible(*set_.rules[i].expression, possible_);
      has_changed = has_changed || now != possible_[i];
      possible_[i] = now;
    }
  }
}

void RuleCompiler::mention(int32_t rule) {
  if (std::exchange(compiled(rule).is_mentioned, true)) return;
  mentioned_.push_back(rule);
}

void RuleCompiler::automaton_of_rule(int32_t rule, int depth) {
  if (compiled(rule).progress != Progress::kNone) return;
  compiled(rule).progress = Progress::kBegun;
  Nfa nfa(budget_);
  const int32_t start = nfa.add_state();
  FragmentWriter writer(
      nfa, [&](int32_t called) { return use_of(called, depth); },
      [&](const Expr& expression) { return make_rule(expression); });
  const Expr expression = set_.rules[static_cast<size_t>(rule)].expression;
  Automaton automaton = determinise(nfa, start, writer.write(*expression, start));
  Compiled& out = compiled(rule);
  out.in_place = !set_.rules[static_cast<size_t>(rule)].is_called &&
                 automaton.states.size() <= kMostStatesInPlace && is_finite(automaton);
  out.automaton = std::move(automaton);
  out.progress = Progress::kDone;
}

RuleUse RuleCompiler::use_of(int32_t rule, int depth) {
  if (depth < kMostDepth) automaton_of_rule(rule, depth + 1);
  RuleUse use;
  const Compiled& its = compiled(rule);
  if (its.progress == Progress::kDone && its.in_place) {
    use.in_place = &its.automaton;
    return use;
  }
  const Possible can_be = possible_[static_cast<size_t>(rule)];
  use.may_be_empty = can_be.empty;
  use.may_have_text = can_be.text;
  if (can_be.text) mention(rule);
  return use;
}

int32_t RuleCompiler::make_rule(const Expr& expression) {
  const int32_t number = set_.add("part of a repetition", expression);
  set_.rules.back().is_called = true;
  possible_.push_back(possible(*expression, possible_));
  automata_.emplace_back();
  return number;
}

// Whether it calls nothing and has no loop.
bool RuleCompiler::is_finite(const Automaton& automaton) const {
  // States are numbered in order of first visit; without an edge back or to itself there is no loop. With one
  // there may be none, but then it is rarely worth while.
  for (size_t i = 0; i < automaton.states.size(); ++i) {
    if (!automaton.states[i].calls.empty()) return false;
    for (const Edge& edge : automaton.states[i].edges)
      if (static_cast<size_t>(edge.target) <= i) return false;
  }
  return true;
}

void RuleCompiler::flatten(Grammar::Tables& tables) {
  std::vector<int32_t> number(automata_.size(), -1);  // of rules
  for (size_t i = 0; i < mentioned_.size(); ++i)
    number[static_cast<size_t>(mentioned_[i])] = static_cast<int32_t>(i);
  tables.may_be_empty = possible_[static_cast<size_t>(set_.root)].empty;
  for (const int32_t rule : mentioned_) {
    const Automaton automaton = without_empty(compiled(rule).automaton);
    const auto base = static_cast<int32_t>(tables.states.size());
    tables.starts.push_back(base);
    for (const Automaton::State& state : automaton.states) {
      tables.states.push_back({static_cast<int32_t>(tables.edges.size()),
                               static_cast<int32_t>(tables.calls.size()), state.accepts});
      for (const Edge& edge : state.edges)
        tables.edges.push_back({edge.first, edge.last, base + edge.target});
      for (const Call& call : state.calls)
        tables.calls.push_back({number[static_cast<size_t>(call.rule)], base + call.target});
    }
    if (automaton.is_empty())  // only the root may be
      tables.states.push_back(
          {static_cast<int32_t>(tables.edges.size()), static_cast<int32_t>(tables.calls.size()), false});
  }
  tables.states.push_back(
      {static_cast<int32_t>(tables.edges.size()), static_cast<int32_t>(tables.calls.size()), false});
  rank_rules(tables, mentioned_);
}

// Rules in the order in which each comes before those that it may begin with.
void RuleCompiler::rank_rules(Grammar::Tables& tables, const std::vector<int32_t>& rules) const {
  const size_t n = rules.size();
  std::vector<Progress> progress(n, Progress::kNone);
  tables.rank.assign(n, 0);
  auto next_rank = static_cast<int32_t>(n);
  std::vector<std::pair<int32_t, size_t>> path;  // rule, the next of its calls
  for (size_t first = 0; first < n; ++first) {
    if (progress[first] != Progress::kNone) continue;
    path.emplace_back(static_cast<int32_t>(first), 0);
    progress[first] = Progress::kBegun;
    while (!path.empty()) {
      auto& [rule, next_call] = path.back();
      const std::span<const Call> calls = tables.calls_of(tables.starts[static_cast<size_t>(rule)]);
      if (next_call == calls.size()) {
        progress[static_cast<size_t>(rule)] = Progress::kDone;
        tables.rank[static_cast<size_t>(rule)] = --next_rank;
        path.pop_back();
        continue;
      }
      const int32_t called = calls[next_call++].rule;
      Progress& its = progress[static_cast<size_t>(called)];
      if (its == Progress::kBegun)
        throw_invalid(
            "grammar: '{}' begins with itself before it has read anything; write it as a repetition",
            set_.rules[static_cast<size_t>(rules[static_cast<size_t>(called)])].name);
      if (its == Progress::kDone) continue;
      its = Progress::kBegun;
      path.emplace_back(called, 0);
    }
  }
}

void find_classes(Grammar::Tables& tables) {
  std::array<bool, 257> begins{};
  for (const Edge& edge : tables.edges) {
    begins[edge.first] = true;
    begins[size_t{edge.last} + 1] = true;
  }
  uint8_t number = 0;
  for (size_t byte = 0; byte < 256; ++byte) {
    if (begins[byte] && byte > 0) ++number;
    tables.class_of[byte] = number;
  }
  tables.n_classes = number + 1;
}

// Two lanes that are mixed apart from each other.
class Hash {
 public:
  static uint64_t seed(size_t lane) {
    static const std::array<uint64_t, 2> seeds = [] {
      std::random_device device;
      std::array<uint64_t, 2> out{};
      for (uint64_t& value : out) value = (uint64_t{device()} << 32) | device();
      return out;
    }();
    return seeds[lane];
  }
  void add(uint64_t value) {
    state_[0] = mix(state_[0] ^ value, 0x9E3779B97F4A7C15U);
    state_[1] = mix(state_[1] + value, 0xD6E8FEB86659FD93U);
  }
  void add(const Grammar::Tables::Fingerprint& value) {
    state_[0] = mix(state_[0] ^ value[0], 0x9E3779B97F4A7C15U);
    state_[1] = mix(state_[1] + value[1], 0xD6E8FEB86659FD93U);
  }
  const Grammar::Tables::Fingerprint& get() const { return state_; }

 private:
  static uint64_t mix(uint64_t x, uint64_t by) {
    x = (x ^ x >> 32) * by;
    x = (x ^ x >> 29) * by;
    return x ^ x >> 32;
  }
  Grammar::Tables::Fingerprint state_ = {seed(0), seed(1)};
};

// Each round looks one byte further. What a state calls is looked at in the same round, after its callee's
// start; what comes after the call has a byte less to look at.
void find_fingerprints(Grammar::Tables& tables, Budget& budget) {
  using Fingerprint = Grammar::Tables::Fingerprint;
  const size_t n = tables.states.size() - 1;
  std::vector<int32_t> order(tables.starts.size());
  for (size_t rule = 0; rule < order.size(); ++rule)
    order[order.size() - 1 - static_cast<size_t>(tables.rank[rule])] = tables.starts[rule];
  std::vector<Fingerprint> now(n, Hash().get());
  std::vector<Fingerprint> next(n);
  const auto look = [&](int32_t state) {
    Hash hash;
    hash.add(tables.accepts(state) ? 2 : 1);
    for (const Edge& edge : tables.edges_of(state)) {
      hash.add(uint64_t{edge.first} << 8 | edge.last);
      hash.add(now[static_cast<size_t>(edge.target)]);
    }
    Fingerprint calls{};  // in whatever order
    for (const Call& call : tables.calls_of(state)) {
      Hash its;
      its.add(next[static_cast<size_t>(tables.starts[static_cast<size_t>(call.rule)])]);
      its.add(now[static_cast<size_t>(call.target)]);
      calls[0] += its.get()[0];
      calls[1] += its.get()[1];
    }
    hash.add(calls);
    next[static_cast<size_t>(state)] = hash.get();
  };
  for (int round = 0; round < Grammar::Tables::kFingerprintBytes; ++round) {
    for (const int32_t start : order) look(start);
    for (size_t i = 0; i < n; ++i) look(static_cast<int32_t>(i));
    now.swap(next);
    budget.work(n);
  }
  tables.fingerprints = std::move(now);
}

}  // namespace

std::unique_ptr<Grammar::Tables> compile_rules(RuleSet rules, Budget& budget) {
  auto tables = RuleCompiler(std::move(rules), budget).compile();
  find_classes(*tables);
  find_fingerprints(*tables, budget);
  return tables;
}

}  // namespace llmhost::text::grammar
