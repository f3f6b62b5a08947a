#include "graph/autodiff/minimum_cut.h"

#include <algorithm>

namespace llmhost::graph {

void MinimumCut::add_edge(size_t from, size_t to, int64_t capacity) {
  first_[from].push_back(edges_.size());
  edges_.push_back({to, capacity});
  first_[to].push_back(edges_.size());
  edges_.push_back({from, 0});
}

// Distances from the source along edges that have room.
bool MinimumCut::measure(size_t source, size_t sink) {
  level_.assign(first_.size(), -1);
  level_[source] = 0;
  std::vector<size_t> queue = {source};
  for (size_t i = 0; i < queue.size(); ++i)
    for (const size_t edge : first_[queue[i]]) {
      const size_t to = edges_[edge].to;
      if (edges_[edge].rest <= 0 || level_[to] >= 0) continue;
      level_[to] = level_[queue[i]] + 1;
      queue.push_back(to);
    }
  return level_[sink] >= 0;
}

// One shortest path filled; 0 when there is none left. Walks without recursion: graphs may be deep.
int64_t MinimumCut::push(size_t source, size_t sink) {
  std::vector<size_t> path;
  size_t at = source;
  while (at != sink) {
    if (next_[at] < first_[at].size()) {
      const Edge& edge = edges_[first_[at][next_[at]]];
      if (edge.rest > 0 && level_[edge.to] == level_[at] + 1) {
        path.push_back(first_[at][next_[at]]);
        at = edge.to;
      } else {
        ++next_[at];
      }
      continue;
    }
    if (path.empty()) return 0;
    at = edges_[path.back() ^ 1].to;
    path.pop_back();
    ++next_[at];
  }
  int64_t flow = kInfinite;
  for (const size_t edge : path) flow = std::min(flow, edges_[edge].rest);
  for (const size_t edge : path) {
    edges_[edge].rest -= flow;
    edges_[edge ^ 1].rest += flow;
  }
  return flow;
}

std::vector<bool> MinimumCut::sink_side(size_t source, size_t sink) {
  while (measure(source, sink)) {
    next_.assign(first_.size(), 0);
    while (push(source, sink) > 0) {
    }
  }
  std::vector<bool> reaches(first_.size(), false);
  reaches[sink] = true;
  std::vector<size_t> queue = {sink};
  for (size_t i = 0; i < queue.size(); ++i)
    for (const size_t edge : first_[queue[i]]) {
      const size_t from = edges_[edge].to;
      if (edges_[edge ^ 1].rest <= 0 || reaches[from]) continue;
      reaches[from] = true;
      queue.push_back(from);
    }
  return reaches;
}

}  // namespace llmhost::graph
