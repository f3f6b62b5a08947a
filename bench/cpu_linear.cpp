// GFLOP/s and GB/s of LINEAR for each stored type, one token and 512.
// usage: cpu_linear [--isa NAME] [--threads N] [--seconds S] [--clock wall|cpu]
#include <cstdio>

#include "backend_bench.h"
#include "graph/types.h"

namespace llmhost::bench {
namespace {

constexpr int64_t kRows = 2048;
constexpr int64_t kDepth = 2048;
constexpr int32_t kMaxTokens = 512;

void measure(const Options& options, llmh_dtype dtype) {
  graph::Graph graph;
  const std::vector<int64_t> shape{kRows, kDepth};
  const std::vector<int64_t> table_shape{2, kDepth};
  const std::vector<llmh_tensor> ids{graph.add_weight("t", LLMH_DTYPE_F32, table_shape),
                                     graph.add_input(LLMH_INPUT_TOKEN_IDS)};
  const std::vector<llmh_tensor> inputs{graph.add_node(LLMH_OP_EMBEDDING, "e", ids)[0],
                                        graph.add_weight("w", dtype, shape)};
  graph.add_node(LLMH_OP_LINEAR, "m", inputs);
  const llmh_limits limits{sizeof(llmh_limits), kMaxTokens, 1, 1, kMaxTokens, 0, 0};
  Model model(options, graph, limits);
  const double bytes = static_cast<double>(model.weight_bytes()) - 2.0 * kDepth * 4;
  for (const int32_t tokens : {1, kMaxTokens}) {
    const double seconds = best_time(options.seconds, [&] { model.run(0, tokens); });
    std::printf(
        "{\"bench\":\"cpu_linear\",\"isa\":\"%s\",\"threads\":%d,\"dtype\":\"%s\",\"rows\":%d,\"depth\":%d,"
        "\"tokens\":%d,\"us\":%.1f,\"gflops\":%.2f,\"weight_gb_per_s\":%.2f}\n",
        options.isa.c_str(), options.threads, llmh_dtype_layout_of(dtype).name, static_cast<int>(kRows),
        static_cast<int>(kDepth), tokens, seconds * 1e6, 2e-9 * tokens * kRows * kDepth / seconds,
        bytes * 1e-9 / seconds);
    std::fflush(stdout);
  }
}

}  // namespace
}  // namespace llmhost::bench

int main(int argc, char** argv) {
  const auto options = llmhost::bench::parse_options(argc, argv);
  for (const llmh_dtype dtype :
       {LLMH_DTYPE_F32, LLMH_DTYPE_F16, LLMH_DTYPE_BF16, LLMH_DTYPE_Q4_0, LLMH_DTYPE_Q4_1, LLMH_DTYPE_Q5_0,
        LLMH_DTYPE_Q5_1, LLMH_DTYPE_Q8_0, LLMH_DTYPE_Q2_K, LLMH_DTYPE_Q3_K, LLMH_DTYPE_Q4_K, LLMH_DTYPE_Q5_K,
        LLMH_DTYPE_Q6_K, LLMH_DTYPE_IQ4_NL, LLMH_DTYPE_IQ4_XS})
    llmhost::bench::measure(options, dtype);
  return 0;
}
