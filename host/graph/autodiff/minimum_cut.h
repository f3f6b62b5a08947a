// The cheapest set of edges that separates the sink of a network from its source. (Dinic 1970)
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace llmhost::graph {

class MinimumCut {
 public:
  static constexpr int64_t kInfinite = INT64_MAX / 4;

  // Vertices 0 to n_vertices - 1.
  explicit MinimumCut(size_t n_vertices) : first_(n_vertices) {}

  void add_edge(size_t from, size_t to, int64_t capacity);
  // By vertex: whether it is on the sink's side of the minimum cut that is nearest to the sink. There must be
  // a cut of finite edges.
  std::vector<bool> sink_side(size_t source, size_t sink);

 private:
  struct Edge {
    size_t to;
    int64_t rest;
  };

  bool measure(size_t source, size_t sink);
  int64_t push(size_t source, size_t sink);

  std::vector<Edge> edges_;                 // 2 i and 2 i + 1: an edge and its reverse
  std::vector<std::vector<size_t>> first_;  // by vertex: its edges
  std::vector<int32_t> level_;
  std::vector<size_t> next_;
};

}  // namespace llmhost::graph
