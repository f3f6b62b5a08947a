// Which linears choose among routed experts.
#pragma once

#include <set>
#include <span>
#include <string>

#include "graph/adapter_sites.h"

namespace llmhost::graph {

// Paths of the linears beside stacked experts that have an output for each of them. The library that
// quantised checkpoints come from does not count them among the linears.
std::set<std::string> router_paths(std::span<const AdapterSite> modules);

}  // namespace llmhost::graph
