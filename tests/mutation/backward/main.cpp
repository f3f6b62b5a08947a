// backward_mutants: makes every single mistake of mutants.h in the backward parts of the cases of
// tests/autodiff, as the rules write them and with composite gradient ops taken apart, and says which of them
// finite differences do not notice.
#include <cstdio>
#include <iostream>
#include <map>
#include <set>

#include "autodiff/vjp_case.h"
#include "core/error.h"
#include "graph/decompose.h"
#include "graph/rewrite.h"
#include "mutants.h"

namespace llmhost::mutation {
namespace {

namespace test = graph::vjp_test;
using graph::Graph;
using graph::TrainingGraph;

struct Score {
  int killed = 0;
  int impossible = 0;  // shapes do not allow it
  std::vector<std::string> survivors;
};

// Mistakes that are none, by the beginning of the case's name and the end of the mistake's.
struct Equivalent {
  std::string_view in;
  std::string_view mistake;
};
constexpr Equivalent kEquivalent[] = {
    // It is squared next.
    {"unary tanh", "unary: result negated"},
    {"activation 7", "unary: result negated"},
    {"gated activation 7", "unary: result negated"},
    {"softcap", "softcap: result negated"},
    {"softcap", "div: result negated"},
    {"softcap", "div: number -1.500000"},
    // Only its sign is read.
    {"unary abs", "unary: result doubled"},
    {"clamp", "sub: result doubled"},
    // The gradient of a norm has the normalised rows twice.
    {"rms norm", "mul: result negated"},
    {"add rms norm", "mul: result negated"},
    {"layer norm", "mul: result negated"},
    {"layer norm", "sub: result negated"},
    // One row or one column.
    {"linear, a vector", "matmul: result transposed"},
};

bool is_equivalent(const std::string& in, const std::string& mistake, std::set<size_t>& used) {
  for (size_t i = 0; i < std::size(kEquivalent); ++i)
    if (in.starts_with(kEquivalent[i].in) && mistake.ends_with(kEquivalent[i].mistake)) {
      used.insert(i);
      return true;
    }
  return false;
}

// The tensors of a changed copy, by name.
TrainingGraph like(const TrainingGraph& training, Graph graph) {
  TrainingGraph result;
  for (const graph::TrainedTensor& trained : training.trained) {
    graph::TrainedTensor found = trained;
    found.value = graph.find(trained.name);
    found.gradient = graph.find(trained.name + ".gradient");
    // Nobody adds to it any more.
    if (found.gradient == LLMH_NO_TENSOR) {
      std::vector<int64_t> sizes;
      for (const llmh_dim& dim : graph::dims_of(training.graph.tensor(trained.gradient)))
        sizes.push_back(dim.size);
      found.gradient = graph.add_parameter(trained.name + ".gradient", sizes, {});
    }
    result.trained.push_back(std::move(found));
  }
  result.graph = std::move(graph);
  return result;
}

class Trial {
 public:
  explicit Trial(const test::VjpCase& vjp_case)
      : case_(vjp_case),
        built_(test::build_case(vjp_case)),
        slopes_(test::finite_differences(built_, vjp_case.step)) {}

  const Graph& graph() const { return built_.graph; }
  bool notices(const TrainingGraph& training) const {
    try {
      return !(test::worst_error(test::run_training(training, built_.values), slopes_) < case_.tolerance);
    } catch (const Error&) {
      return true;
    }
  }

  void try_nodes(const TrainingGraph& training, Score& score) const {
    for (const Mutant& mutant : mutants_of(training.graph)) {
      TrainingGraph wrong;
      try {
        wrong = like(training, mutant.make(training.graph));
      } catch (const std::exception&) {
        ++score.impossible;
        continue;
      }
      if (notices(wrong))
        ++score.killed;
      else
        score.survivors.push_back(mutant.name);
    }
  }

 private:
  const test::VjpCase& case_;
  test::BuiltCase built_;
  test::Slopes slopes_;
};

// Composite gradients as their parts, behind the loss.
Graph taken_apart(const Graph& training) {
  return graph::decompose(
      training, [](const Graph& graph, uint32_t node) { return graph.node(node).op < LLMH_OP_REDUCE_TO; });
}

bool has_op(const Graph& graph, llmh_op op) {
  for (uint32_t i = 0; i < graph.node_count(); ++i)
    if (graph.node(i).op == op && graph::to_view(graph.node(i).path) == "case") return true;
  return false;
}

int run() {
  int killed = 0;
  int equivalent = 0;
  int impossible = 0;
  std::set<size_t> used;
  std::vector<std::string> problems;
  std::map<std::string, bool> rules;  // whether a case notices the mistake
  const auto wrong_rules = mutant_rules();
  for (const MutantRules& wrong : wrong_rules) rules[wrong.name] = false;
  for (const test::VjpCase& vjp_case : test::vjp_cases()) {
    const Trial trial(vjp_case);
    const TrainingGraph training = differentiate(trial.graph(), {});
    if (trial.notices(training)) problems.push_back(vjp_case.name + ": fails as it is");
    Score score;
    trial.try_nodes(training, score);
    const Graph parts = taken_apart(training.graph);
    if (parts.node_count() != training.graph.node_count()) {
      graph::Rewriter copy(parts);
      for (uint32_t i = 0; i < parts.node_count(); ++i) copy.copy(i);
      trial.try_nodes(like(training, copy.finish()), score);
    }
    for (const MutantRules& wrong : wrong_rules)
      if (!rules[wrong.name] && has_op(trial.graph(), wrong.op))
        rules[wrong.name] = trial.notices(differentiate(trial.graph(), {}, wrong.rules));
    killed += score.killed;
    impossible += score.impossible;
    for (const std::string& survivor : score.survivors) {
      if (is_equivalent(vjp_case.name, survivor, used))
        ++equivalent;
      else
        problems.push_back(vjp_case.name + ": " + survivor);
    }
  }
  for (const auto& [name, is_noticed] : rules) {
    if (is_noticed)
      ++killed;
    else
      problems.push_back(name);
  }
  for (size_t i = 0; i < std::size(kEquivalent); ++i)
    if (!used.contains(i))
      problems.push_back("equivalent " + std::string(kEquivalent[i].mistake) + " fits nothing");
  const auto survivors = static_cast<int>(problems.size());
  std::cout << killed << " of " << killed + survivors << " mistakes are noticed; " << equivalent
            << " more change nothing, " << impossible << " do not fit the shapes\n";
  for (const std::string& problem : problems) std::cout << "not noticed: " << problem << "\n";
  return problems.empty() ? 0 : 1;
}

}  // namespace
}  // namespace llmhost::mutation

int main() {
  try {
    return llmhost::mutation::run();
  } catch (const std::exception& error) {
    std::cerr << error.what() << "\n";
    return 1;
  }
}
