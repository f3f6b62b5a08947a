// Tokens per second of a decoder of 135 million weights (30 layers, width 576, vocabulary 49152, q4_1):
// prefill of 512 tokens and decoding after 128. usage: cpu_decoder [--isa NAME] [--threads N] [--seconds S]
// [--clock wall|cpu]
#include <cstdio>

#include "backend_bench.h"
#include "decoder_graph.h"

namespace llmhost::bench {
namespace {

void measure(const Options& options) {
  const graph::Graph graph = decoder_graph();
  const llmh_limits limits{sizeof(llmh_limits), 512, 1, 1, 1024, 0, 0};
  Model model(options, graph, limits, {kDecoderLayers, kDecoderKvHeads, kDecoderHeadDim});
  const double prefill = best_time(options.seconds, [&] { model.run(0, 512); });
  const double decode = best_time(options.seconds, [&] { model.run(128, 1); });
  std::printf(
      "{\"bench\":\"cpu_decoder\",\"isa\":\"%s\",\"threads\":%d,\"weight_mb\":%.1f,\"prefill_tokens_per_s\":%"
      ".1f,"
      "\"decode_tokens_per_s\":%.1f}\n",
      options.isa.c_str(), options.threads, static_cast<double>(model.weight_bytes()) * 1e-6, 512 / prefill,
      1 / decode);
}

}  // namespace
}  // namespace llmhost::bench

int main(int argc, char** argv) {
  llmhost::bench::measure(llmhost::bench::parse_options(argc, argv));
  return 0;
}
