// The arena plan's one promise, on random graphs: tensors that live at the same time share no byte.
#include "graph/lifetimes.h"

#include <doctest/doctest.h>

#include "core/error.h"
#include "graph_run.h"

namespace llmhost::graph {
namespace {

using test::kTokens;
using test::placeholder;

const llmh_limits kLimits = {sizeof(llmh_limits), 16, 4, 4, 64, 0, 0};

Graph random_graph(std::mt19937& random, size_t n_nodes) {
  Graph graph;
  std::vector<llmh_tensor> tensors = {placeholder(graph, {symbol_dim(LLMH_DIM_OUTPUTS), constant_dim(3)}),
                                      placeholder(graph, {symbol_dim(LLMH_DIM_OUTPUTS), constant_dim(5)})};
  for (size_t i = 0; i < n_nodes; ++i) {
    const llmh_tensor x = tensors[random() % tensors.size()];
    const llmh_tensor y = tensors[random() % tensors.size()];
    auto axis = make_attrs<llmh_axis_attrs>();
    axis.axis = 1;
    // Sizes grow with CONCAT and shrink with REDUCE.
    auto reduce = make_attrs<llmh_reduce_attrs>();
    reduce.kind = LLMH_REDUCE_SUM;
    tensors.push_back(random() % 3 == 0 ? test::add(graph, LLMH_OP_REDUCE, {x}, reduce)
                                        : test::add(graph, LLMH_OP_CONCAT, {x, y}, axis));
    if (graph.tensor(tensors.back()).dims[1].size > 5000) tensors.erase(tensors.end() - 1);
  }
  graph.add_output(LLMH_OUTPUT_HIDDEN, tensors.back());
  graph.add_output(LLMH_OUTPUT_LOGITS, tensors[tensors.size() / 2]);
  return graph;
}

struct Life {
  uint64_t begin, end;  // bytes
  uint32_t from, to;    // nodes
};

std::vector<Life> lives_of(const Graph& graph, const ArenaPlan& plan) {
  std::vector<Life> lives;
  for (uint32_t t = 0; t < graph.tensor_count(); ++t) {
    const llmh_tensor_info& info = graph.tensor(static_cast<llmh_tensor>(t));
    if (info.producer < 0) {
      CHECK(plan.offsets[t] == kNoOffset);
      continue;
    }
    const auto from = static_cast<uint32_t>(info.producer);
    uint32_t to = from;
    for (uint32_t n = 0; n < graph.node_count(); ++n)
      for (const llmh_tensor input : inputs_of(graph.node(n)))
        if (input == static_cast<llmh_tensor>(t)) to = n;
    for (uint32_t o = 0; o < graph.view().n_outputs; ++o)
      if (graph.view().outputs[o]->tensor == static_cast<llmh_tensor>(t)) to = graph.node_count();
    const uint64_t bytes = byte_count(info.dtype, dims_of(info), values_of(kLimits));
    CHECK(plan.offsets[t] % 64 == 0);
    CHECK(plan.offsets[t] + bytes <= plan.bytes);
    lives.push_back({plan.offsets[t], plan.offsets[t] + bytes, from, to});
  }
  return lives;
}

TEST_CASE("no two live tensors overlap") {
  std::mt19937 random(99);
  for (int round = 0; round < 60; ++round) {
    const Graph graph = random_graph(random, 5 + random() % 60);
    const ArenaPlan plan = plan_arena(graph, kLimits);
    const auto lives = lives_of(graph, plan);
    uint64_t apart = 0;
    size_t overlaps = 0;
    for (size_t i = 0; i < lives.size(); ++i) {
      apart += (lives[i].end - lives[i].begin + 63) / 64 * 64;
      for (size_t k = 0; k < i; ++k) {
        const bool in_time = lives[i].from <= lives[k].to && lives[k].from <= lives[i].to;
        const bool in_space = lives[i].begin < lives[k].end && lives[k].begin < lives[i].end;
        overlaps += in_time && in_space ? 1 : 0;
      }
    }
    CHECK(overlaps == 0);
    CHECK(plan.bytes <= apart);
  }
}

TEST_CASE("a chain of any length needs two places") {
  Graph graph;
  llmh_tensor x = placeholder(graph, {symbol_dim(LLMH_DIM_OUTPUTS), constant_dim(100)});
  for (int i = 0; i < 50; ++i) x = test::add(graph, LLMH_OP_ADD, {x, x});
  graph.add_output(LLMH_OUTPUT_HIDDEN, x);
  CHECK(plan_arena(graph, kLimits).bytes == 2 * (4 * 100 * 4 + 0));
}

TEST_CASE("sizes that overflow are an error") {
  Graph graph;
  const llmh_tensor x = placeholder(graph, {kTokens, constant_dim(int64_t{1} << 57)});
  test::add(graph, LLMH_OP_ADD, {x, x});
  CHECK_THROWS_AS(plan_arena(graph, kLimits), Error);
}

}  // namespace
}  // namespace llmhost::graph
