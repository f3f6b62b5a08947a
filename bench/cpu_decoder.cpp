// Tokens per second of a decoder of 135 million weights (30 layers, width 576, vocabulary 49152, q4_1):
// prefill of 512 tokens and decoding after 128. usage: cpu_decoder [--isa NAME] [--threads N] [--seconds S]
// [--clock wall|cpu]
#include <cstdio>
#include <string>

#include "backend_bench.h"
#include "graph/types.h"

namespace llmhost::bench {
namespace {

constexpr int64_t kWidth = 576;
constexpr int64_t kInner = 1536;
constexpr int64_t kVocabulary = 49152;
constexpr int32_t kHeads = 9;
constexpr int32_t kKvHeads = 3;
constexpr int32_t kHeadDim = 64;
constexpr int32_t kLayers = 30;
constexpr llmh_dtype kType = LLMH_DTYPE_Q4_1;

struct Builder {
  graph::Graph graph;
  llmh_tensor cos = 0, sin = 0;

  llmh_tensor weight(const std::string& name, llmh_dtype dtype, const std::vector<int64_t>& shape) {
    return graph.add_weight(name, dtype, shape);
  }
  template <typename Attrs>
  llmh_tensor node(llmh_op op, const std::vector<llmh_tensor>& inputs, const Attrs& attrs) {
    return graph.add_node(op, "", inputs, &attrs, sizeof attrs)[0];
  }
  llmh_tensor node(llmh_op op, const std::vector<llmh_tensor>& inputs) {
    return graph.add_node(op, "", inputs)[0];
  }
  llmh_tensor linear(const std::string& name, llmh_tensor x, int64_t n, int64_t k) {
    return node(LLMH_OP_LINEAR, {x, weight(name, kType, {n, k})});
  }
  llmh_tensor norm(const std::string& name, llmh_tensor x) {
    auto attrs = graph::make_attrs<llmh_norm_attrs>();
    attrs.eps = 1e-5F;
    return node(LLMH_OP_RMS_NORM, {x, weight(name, LLMH_DTYPE_F32, {kWidth})}, attrs);
  }
  llmh_tensor rope(llmh_tensor x, int32_t heads) {
    auto attrs = graph::make_attrs<llmh_rope_attrs>();
    attrs.n_heads = heads;
    attrs.head_dim = attrs.rotary_dim = kHeadDim;
    attrs.style = LLMH_ROPE_HALVES;
    return node(LLMH_OP_ROPE, {x, cos, sin}, attrs);
  }
};

llmh_tensor attention(Builder& b, const std::string& layer, llmh_tensor x, int32_t slot) {
  auto attrs = graph::make_attrs<llmh_attention_attrs>();
  attrs.slot = slot;
  attrs.n_heads = kHeads;
  attrs.n_kv_heads = kKvHeads;
  attrs.k_head_dim = attrs.v_head_dim = kHeadDim;
  attrs.scale = 0.125F;
  attrs.causal = 1;
  const llmh_tensor q = b.rope(b.linear(layer + "q", x, kWidth, kWidth), kHeads);
  const llmh_tensor k = b.rope(b.linear(layer + "k", x, kKvHeads * kHeadDim, kWidth), kKvHeads);
  const llmh_tensor v = b.linear(layer + "v", x, kKvHeads * kHeadDim, kWidth);
  return b.linear(layer + "o", b.node(LLMH_OP_ATTENTION, {q, k, v}, attrs), kWidth, kWidth);
}

llmh_tensor mlp(Builder& b, const std::string& layer, llmh_tensor x) {
  auto attrs = graph::make_attrs<llmh_activation_attrs>();
  attrs.kind = LLMH_ACT_SILU;
  const llmh_tensor gate = b.linear(layer + "gate", x, kInner, kWidth);
  const llmh_tensor up = b.linear(layer + "up", x, kInner, kWidth);
  return b.linear(layer + "down", b.node(LLMH_OP_GATED_ACTIVATION, {gate, up}, attrs), kWidth, kInner);
}

void build(Builder& b) {
  auto angles = graph::make_attrs<llmh_rope_angles_attrs>();
  angles.rotary_dim = kHeadDim;
  angles.theta = 100000.0F;
  const std::vector<llmh_tensor> inputs{b.graph.add_input(LLMH_INPUT_POSITIONS),
                                        b.graph.add_input(LLMH_INPUT_ROPE_LENGTHS)};
  const auto both = b.graph.add_node(LLMH_OP_ROPE_ANGLES, "", inputs, &angles, sizeof angles);
  b.cos = both[0];
  b.sin = both[1];
  const llmh_tensor table = b.weight("table", kType, {kVocabulary, kWidth});
  llmh_tensor x = b.node(LLMH_OP_EMBEDDING, {table, b.graph.add_input(LLMH_INPUT_TOKEN_IDS)});
  for (int32_t i = 0; i < kLayers; ++i) {
    const std::string layer = std::to_string(i) + ".";
    x = b.node(LLMH_OP_ADD, {x, attention(b, layer, b.norm(layer + "n1", x), i)});
    x = b.node(LLMH_OP_ADD, {x, mlp(b, layer, b.norm(layer + "n2", x))});
  }
  x = b.node(LLMH_OP_GATHER, {b.norm("n", x), b.graph.add_input(LLMH_INPUT_OUTPUT_ROWS)});
  b.graph.add_output(LLMH_OUTPUT_LOGITS, b.node(LLMH_OP_LINEAR, {x, table}));
}

void measure(const Options& options) {
  Builder b;
  build(b);
  const llmh_limits limits{sizeof(llmh_limits), 512, 1, 1, 1024};
  Model model(options, b.graph, limits, {kLayers, kKvHeads, kHeadDim});
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
