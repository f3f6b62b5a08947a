// How a node of a graph may be changed; see mutants.h.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "graph/emit.h"
#include "graph/graph.h"

namespace llmhost::mutation {

// A node on its way into the changed graph.
struct Place {
  graph::Emit& emit;                           // adds nodes to the changed graph
  const llmh_node& node;                       // in the old graph
  std::vector<llmh_tensor> inputs;             // in the changed graph
  std::vector<llmh_tensor> as_it_was() const;  // adds the node
};

struct Change {
  std::string name;
  std::function<std::vector<llmh_tensor>(const Place&)> make;  // what stands for the node's outputs
};

// Files changes_*.cpp.
void add_result_changes(const graph::Graph& graph, const llmh_node& node, std::vector<Change>& changes);
void add_operand_changes(const graph::Graph& graph, const llmh_node& node, std::vector<Change>& changes);
void add_op_changes(const graph::Graph& graph, const llmh_node& node, std::vector<Change>& changes);
void add_setting_changes(const llmh_node& node, std::vector<Change>& changes);

}  // namespace llmhost::mutation
