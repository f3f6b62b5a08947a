// The modules of a model that adapters may change, and a graph whose nodes are sites of them.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "graph/graph.h"

namespace llmhost::graph {

struct AdapterSite {
  int32_t site = 0;  // 0: the graph has none: it is fixed, or was not wanted
  int32_t kind = LLMH_MODULE_FIXED;
  std::string path;  // Hub module path; unique in the list
  int64_t in_features = 0;
  int64_t out_features = 0;
  bool has_bias = false;
  bool is_head = false;                 // gives the logits
  bool is_experts = false;              // the stacked weights of routed experts
  uint64_t n_weights = 0;               // elements of all its weights
  llmh_tensor weight = LLMH_NO_TENSOR;  // of the graph that was given
  std::string weight_name;
  std::string bias_name;             // empty: it has none
  std::vector<std::string> weights;  // names of all that its nodes read, in the order of their first use
};

// All modules with weights, none of them a site. `by_node` becomes the index of each node's module, SIZE_MAX
// for nodes without.
std::vector<AdapterSite> modules_of(const Graph& graph);
std::vector<AdapterSite> modules_of(const Graph& graph, std::vector<size_t>& by_node);

// A copy of the graph in which linears, embeddings and norms that adapters can change, and that are wanted,
// are sites, numbered from 1; `sites` becomes the list of all modules with weights. A module that runs twice
// is one site; paths that stand for different weights are fixed. To be done before fuse(), which carries the
// sites on. Without a site nothing is different: a site that is not wanted costs nothing.
Graph with_adapter_sites(const Graph& graph, const std::function<bool(const AdapterSite&)>& wanted,
                         std::vector<AdapterSite>& sites);

}  // namespace llmhost::graph
