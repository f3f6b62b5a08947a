#include "decoder_graph.h"

#include "graph/types.h"

namespace llmhost::bench {
namespace {

constexpr int64_t kWidth = 576;
constexpr int64_t kInner = 1536;
constexpr int64_t kVocabulary = 49152;
constexpr int32_t kHeads = 9;
constexpr llmh_dtype kType = LLMH_DTYPE_Q4_1;

struct Builder {
  graph::Graph& graph;
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
    const std::vector<llmh_tensor> inputs{x, weight(name, kType, {n, k})};
    return graph.add_node(LLMH_OP_LINEAR, name, inputs)[0];
  }
  llmh_tensor norm(const std::string& name, llmh_tensor x) {
    auto attrs = graph::make_attrs<llmh_norm_attrs>();
    attrs.eps = 1e-5F;
    return node(LLMH_OP_RMS_NORM, {x, weight(name, LLMH_DTYPE_F32, {kWidth})}, attrs);
  }
  llmh_tensor rope(llmh_tensor x, int32_t heads) {
    auto attrs = graph::make_attrs<llmh_rope_attrs>();
    attrs.n_heads = heads;
    attrs.head_dim = attrs.rotary_dim = kDecoderHeadDim;
    attrs.style = LLMH_ROPE_HALVES;
    return node(LLMH_OP_ROPE, {x, cos, sin}, attrs);
  }
};

llmh_tensor attention(Builder& b, const std::string& layer, llmh_tensor x, int32_t slot) {
  auto attrs = graph::make_attrs<llmh_attention_attrs>();
  attrs.slot = slot;
  attrs.n_heads = kHeads;
  attrs.n_kv_heads = kDecoderKvHeads;
  attrs.k_head_dim = attrs.v_head_dim = kDecoderHeadDim;
  attrs.scale = 0.125F;
  attrs.causal = 1;
  const llmh_tensor q = b.rope(b.linear(layer + "q", x, kWidth, kWidth), kHeads);
  const llmh_tensor k =
      b.rope(b.linear(layer + "k", x, kDecoderKvHeads * kDecoderHeadDim, kWidth), kDecoderKvHeads);
  const llmh_tensor v = b.linear(layer + "v", x, kDecoderKvHeads * kDecoderHeadDim, kWidth);
  return b.linear(layer + "o", b.node(LLMH_OP_ATTENTION, {q, k, v}, attrs), kWidth, kWidth);
}

llmh_tensor mlp(Builder& b, const std::string& layer, llmh_tensor x) {
  auto attrs = graph::make_attrs<llmh_activation_attrs>();
  attrs.kind = LLMH_ACT_SILU;
  const llmh_tensor gate = b.linear(layer + "gate", x, kInner, kWidth);
  const llmh_tensor up = b.linear(layer + "up", x, kInner, kWidth);
  return b.linear(layer + "down", b.node(LLMH_OP_GATED_ACTIVATION, {gate, up}, attrs), kWidth, kInner);
}

}  // namespace

graph::Graph decoder_graph() {
  graph::Graph graph;
  Builder b{graph};
  auto angles = graph::make_attrs<llmh_rope_angles_attrs>();
  angles.rotary_dim = kDecoderHeadDim;
  angles.theta = 100000.0F;
  const std::vector<llmh_tensor> inputs{b.graph.add_input(LLMH_INPUT_POSITIONS),
                                        b.graph.add_input(LLMH_INPUT_ROPE_LENGTHS)};
  const auto both = b.graph.add_node(LLMH_OP_ROPE_ANGLES, "", inputs, &angles, sizeof angles);
  b.cos = both[0];
  b.sin = both[1];
  const llmh_tensor table = b.weight("table", kType, {kVocabulary, kWidth});
  llmh_tensor x = b.node(LLMH_OP_EMBEDDING, {table, b.graph.add_input(LLMH_INPUT_TOKEN_IDS)});
  for (int32_t i = 0; i < kDecoderLayers; ++i) {
    const std::string layer = std::to_string(i) + ".";
    x = b.node(LLMH_OP_ADD, {x, attention(b, layer, b.norm(layer + "n1", x), i)});
    x = b.node(LLMH_OP_ADD, {x, mlp(b, layer, b.norm(layer + "n2", x))});
  }
  x = b.node(LLMH_OP_GATHER, {b.norm("n", x), b.graph.add_input(LLMH_INPUT_OUTPUT_ROWS)});
  b.graph.add_output(LLMH_OUTPUT_LOGITS, b.node(LLMH_OP_LINEAR, {x, table}));
  return graph;
}

}  // namespace llmhost::bench
