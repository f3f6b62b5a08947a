// A decoder of the usual shape for tests of training passes: RMS norms, rotated grouped-query attention,
// gated feed-forward, a head tied to the embedding; with low-rank adapters on what is chosen.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "graph/emit.h"
#include "graph/graph.h"

namespace llmhost::graph::vjp_test {

struct DecoderShape {
  int64_t layers = 2;
  int64_t width = 16;
  int64_t heads = 4;
  int64_t kv_heads = 2;
  int64_t head_dim = 4;
  int64_t ffn = 24;
  int64_t vocab = 32;
  llmh_dtype weights = LLMH_DTYPE_F32;
  std::vector<std::string> adapted;  // "q_proj", "v_proj"
  int64_t rank = 8;
  float dropout = 0;
  bool tied = true;
};

class DecoderGraph {
 public:
  explicit DecoderGraph(const DecoderShape& shape) : shape_(shape) {}

  Graph build() {
    Emit root(graph_, "");
    const llmh_tensor table = weight("model.embed_tokens.weight", {shape_.vocab, shape_.width});
    llmh_tensor x = Emit(graph_, "model.embed_tokens")
                        .op(LLMH_OP_EMBEDDING, {table, graph_.add_input(LLMH_INPUT_TOKEN_IDS)});
    auto angles = make_attrs<llmh_rope_angles_attrs>();
    angles.rotary_dim = static_cast<int32_t>(shape_.head_dim);
    angles.theta = 10000;
    const llmh_tensor inputs[] = {graph_.add_input(LLMH_INPUT_POSITIONS),
                                  graph_.add_input(LLMH_INPUT_ROPE_LENGTHS)};
    angles_ = root.node(LLMH_OP_ROPE_ANGLES, inputs, &angles, sizeof angles);
    for (int64_t i = 0; i < shape_.layers; ++i) x = layer(i, x);
    x = root.gather(x, graph_.add_input(LLMH_INPUT_OUTPUT_ROWS));
    x = norm("model.norm", x);
    const llmh_tensor head = shape_.tied ? table : weight("lm_head.weight", {shape_.vocab, shape_.width});
    graph_.add_output(LLMH_OUTPUT_HIDDEN, x);
    graph_.add_output(LLMH_OUTPUT_LOGITS, Emit(graph_, "lm_head").op(LLMH_OP_LINEAR, {x, head}));
    return std::move(graph_);
  }

 private:
  llmh_tensor weight(const std::string& name, std::vector<int64_t> sizes) {
    return graph_.add_weight(name, sizes.size() > 1 ? shape_.weights : LLMH_DTYPE_F32, sizes);
  }

  llmh_tensor norm(const std::string& path, llmh_tensor x) {
    auto attrs = make_attrs<llmh_norm_attrs>();
    attrs.eps = 1e-5F;
    return Emit(graph_, path).op(LLMH_OP_RMS_NORM, {x, weight(path + ".weight", {shape_.width})}, attrs);
  }

  llmh_tensor linear(const std::string& at, const std::string& name, llmh_tensor x, int64_t out) {
    const std::string path = at + "." + name;
    const int64_t in = Emit(graph_, "").dims(x).back().size;
    Emit emit(graph_, path);
    const llmh_tensor y = emit.op(LLMH_OP_LINEAR, {x, weight(path + ".weight", {out, in})});
    if (std::ranges::find(shape_.adapted, name) == shape_.adapted.end()) return y;
    const int64_t a_sizes[] = {shape_.rank, in};
    const int64_t b_sizes[] = {out, shape_.rank};
    const llmh_tensor a = graph_.add_parameter(path + ".lora_A.weight", a_sizes, {});
    const llmh_tensor b = graph_.add_parameter(path + ".lora_B.weight", b_sizes, {});
    if (shape_.dropout > 0) {
      auto attrs = make_attrs<llmh_dropout_attrs>();
      attrs.p = shape_.dropout;
      attrs.site = ++dropout_sites_;
      x = emit.op(LLMH_OP_DROPOUT, {x}, attrs);
    }
    const llmh_tensor low = emit.op(LLMH_OP_LINEAR, {x, a});
    return emit.add(y, emit.scale(emit.op(LLMH_OP_LINEAR, {low, b}), 2.0F));
  }

  llmh_tensor rotated(llmh_tensor x, int64_t heads) {
    auto attrs = make_attrs<llmh_rope_attrs>();
    attrs.n_heads = static_cast<int32_t>(heads);
    attrs.head_dim = attrs.rotary_dim = static_cast<int32_t>(shape_.head_dim);
    attrs.style = LLMH_ROPE_HALVES;
    return Emit(graph_, "").op(LLMH_OP_ROPE, {x, angles_[0], angles_[1]}, attrs);
  }

  llmh_tensor layer(int64_t index, llmh_tensor x) {
    const std::string at = "model.layers." + std::to_string(index);
    Emit root(graph_, "");
    const llmh_tensor h = norm(at + ".input_layernorm", x);
    const llmh_tensor q = linear(at + ".self_attn", "q_proj", h, shape_.heads * shape_.head_dim);
    const llmh_tensor k = linear(at + ".self_attn", "k_proj", h, shape_.kv_heads * shape_.head_dim);
    const llmh_tensor v = linear(at + ".self_attn", "v_proj", h, shape_.kv_heads * shape_.head_dim);
    auto attention = make_attrs<llmh_attention_attrs>();
    attention.slot = static_cast<int32_t>(index);
    attention.n_heads = static_cast<int32_t>(shape_.heads);
    attention.n_kv_heads = static_cast<int32_t>(shape_.kv_heads);
    attention.k_head_dim = attention.v_head_dim = static_cast<int32_t>(shape_.head_dim);
    attention.scale = 0.5F;
    attention.causal = 1;
    const llmh_tensor rotated_q = rotated(q, shape_.heads);
    const llmh_tensor rotated_k = rotated(k, shape_.kv_heads);
    const llmh_tensor out =
        Emit(graph_, at + ".self_attn").op(LLMH_OP_ATTENTION, {rotated_q, rotated_k, v}, attention);
    x = root.add(x, linear(at + ".self_attn", "o_proj", out, shape_.width));
    const llmh_tensor h2 = norm(at + ".post_attention_layernorm", x);
    const llmh_tensor gate = linear(at + ".mlp", "gate_proj", h2, shape_.ffn);
    const llmh_tensor up = linear(at + ".mlp", "up_proj", h2, shape_.ffn);
    auto silu = make_attrs<llmh_activation_attrs>();
    silu.kind = LLMH_ACT_SILU;
    const llmh_tensor hidden = root.op(LLMH_OP_GATED_ACTIVATION, {gate, up}, silu);
    x = root.add(x, linear(at + ".mlp", "down_proj", hidden, shape_.width));
    graph_.set_name(x, at + ".output");
    return x;
  }

  DecoderShape shape_;
  Graph graph_;
  std::vector<llmh_tensor> angles_;
  int32_t dropout_sites_ = 0;
};

}  // namespace llmhost::graph::vjp_test
