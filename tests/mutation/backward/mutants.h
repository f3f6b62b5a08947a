// Single mistakes in the backward part of a training graph: a sign, a factor, a term, a transpose, an
// operand, a setting.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "graph/autodiff/vjp.h"
#include "graph/graph.h"

namespace llmhost::mutation {

struct Mutant {
  std::string name;  // "3 mul: first operand alone"
  // The graph with the mistake; throws Error when shapes do not allow it.
  std::function<graph::Graph(const graph::Graph&)> make;
};

// Of every node behind the loss that has the path "case".
std::vector<Mutant> mutants_of(const graph::Graph& training);

// Mistakes in one row of the table of rules.
struct MutantRules {
  std::string name;  // "detach: lets gradients through"
  llmh_op op;        // whose row it is
  std::vector<graph::VjpRule> rules;
};
std::vector<MutantRules> mutant_rules();

}  // namespace llmhost::mutation
