// Microseconds a node of what decoders do in every layer beside matrix products: splitting fused projections,
// joining, turning and scaling rows; and of products with experts.
// usage: cpu_ops [--isa NAME] [--threads N] [--seconds S] [--clock wall|cpu]
#include <cstdio>
#include <functional>

#include "backend_bench.h"
#include "graph/emit.h"

namespace llmhost::bench {
namespace {

constexpr int64_t kWidth = 2048;
constexpr int64_t kHeads = 16;
constexpr int32_t kMaxTokens = 512;
constexpr int kNodes = 16;  // the same one, so that what surrounds it weighs little

using Maker = std::function<void(graph::Emit& emit, llmh_tensor x, llmh_tensor vector)>;

double seconds_of(const Options& options, int32_t tokens, int n_nodes, const Maker& make) {
  graph::Graph graph;
  graph::Emit emit(graph, "m");
  const std::vector<int64_t> table{2, kWidth};
  const std::vector<int64_t> vector{kWidth};
  const llmh_tensor x = emit.op(LLMH_OP_EMBEDDING, {graph.add_weight("t", LLMH_DTYPE_F32, table),
                                                    graph.add_input(LLMH_INPUT_TOKEN_IDS)});
  const llmh_tensor weight = graph.add_weight("v", LLMH_DTYPE_F32, vector);
  for (int i = 0; i < n_nodes; ++i) make(emit, x, weight);
  const llmh_limits limits{sizeof(llmh_limits), kMaxTokens, 1, 1, kMaxTokens, 0, 0};
  Model model(options, graph, limits);
  return best_time(options.seconds, [&] { model.run(0, tokens); });
}

void measure(const Options& options, const char* name, const Maker& make, int32_t tokens) {
  const double base = seconds_of(options, tokens, 0, make);
  const double all = seconds_of(options, tokens, kNodes, make);
  std::printf("{\"bench\":\"cpu_ops\",\"op\":\"%s\",\"threads\":%d,\"tokens\":%d,\"width\":%d,\"us\":%.3f}\n",
              name, options.threads, tokens, static_cast<int>(kWidth), (all - base) * 1e6 / kNodes);
  std::fflush(stdout);
}

graph::Dims heads_of(graph::Emit& emit, llmh_tensor x) {
  return {emit.dims(x)[0], graph::constant_dim(kHeads), graph::constant_dim(kWidth / kHeads)};
}

// Eight of 64 experts of 768 rows, chosen by the first elements of x.
void expert_product(graph::Emit& emit, llmh_tensor x, llmh_tensor) {
  auto attrs = graph::make_attrs<llmh_top_k_attrs>();
  attrs.k = 8;
  const llmh_tensor inputs[] = {emit.slice(x, 1, 0, 64)};
  const llmh_tensor ids = emit.graph().add_node(LLMH_OP_TOP_K, "m", inputs, &attrs, sizeof attrs)[1];
  const std::vector<int64_t> shape{64, 768, kWidth};
  emit.op(LLMH_OP_EXPERT_LINEAR, {x, emit.graph().add_weight("experts", LLMH_DTYPE_Q4_K, shape), ids});
}

void measure_all(const Options& options, int32_t tokens) {
  const auto run = [&](const char* name, const Maker& make) { measure(options, name, make, tokens); };
  run("slice last axis in half", [](auto& emit, auto x, auto) { emit.slice(x, 1, 0, kWidth / 2); });
  run("concat last axis", [](auto& emit, auto x, auto) { emit.concat({x, x}, 1); });
  run("reshape to heads", [](auto& emit, auto x, auto) { emit.reshape(x, heads_of(emit, x)); });
  run("broadcast a vector", [](auto& emit, auto x, auto v) { emit.broadcast(v, emit.dims(x)); });
  run("mul by a vector", [](auto& emit, auto x, auto v) { emit.mul(x, v); });
  run("add a vector", [](auto& emit, auto x, auto v) { emit.add(x, v); });
  run("mul by a number", [](auto& emit, auto x, auto) { emit.mul(x, 0.5F); });
  run("add alike", [](auto& emit, auto x, auto) { emit.add(x, x); });
  run("permute rows", [](auto& emit, auto x, auto) { emit.permute(x, {1, 0}); });
  run("expert_linear q4_k", expert_product);
}

}  // namespace
}  // namespace llmhost::bench

int main(int argc, char** argv) {
  const auto options = llmhost::bench::parse_options(argc, argv);
  for (const int32_t tokens : {1, llmhost::bench::kMaxTokens}) llmhost::bench::measure_all(options, tokens);
  return 0;
}
