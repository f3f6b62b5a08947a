#include "graph/dump.h"

#include <doctest/doctest.h>

#include "graph/decompose.h"
#include "graph_run.h"

namespace llmhost::graph {
namespace {

Graph example() {
  Graph graph;
  const int64_t table[] = {100, 32};
  const int64_t vector[] = {32};
  const llmh_tensor embedding = graph.add_weight("model.embed_tokens.weight", LLMH_DTYPE_Q4_1, table);
  const llmh_tensor norm = graph.add_weight("model.norm.weight", LLMH_DTYPE_F32, vector);
  const llmh_tensor ids = graph.add_input(LLMH_INPUT_TOKEN_IDS);
  const llmh_tensor rows =
      graph.add_node(LLMH_OP_EMBEDDING, "model.embed_tokens", std::vector<llmh_tensor>{embedding, ids})[0];
  auto attrs = make_attrs<llmh_norm_attrs>();
  attrs.eps = 1e-5F;
  const llmh_tensor normed = graph.add_node(LLMH_OP_RMS_NORM, "model.norm",
                                            std::vector<llmh_tensor>{rows, norm}, &attrs, sizeof attrs)[0];
  graph.set_name(normed, "final");
  auto activation = make_attrs<llmh_activation_attrs>();
  activation.kind = LLMH_ACT_GELU_TANH;
  const llmh_tensor act = test::add(graph, LLMH_OP_ACTIVATION, {normed}, activation);
  const llmh_tensor half = test::add(graph, LLMH_OP_MUL, {act, graph.scalar(0.5F)});
  const llmh_tensor last = test::add(graph, LLMH_OP_GATHER, {half, graph.add_input(LLMH_INPUT_OUTPUT_ROWS)});
  graph.add_output(LLMH_OUTPUT_LOGITS,
                   graph.add_node(LLMH_OP_LINEAR, "lm_head",
                                  std::vector<llmh_tensor>{last, embedding, LLMH_NO_TENSOR})[0]);
  return graph;
}

TEST_CASE("a dump is one line a node and the same each time") {
  const std::string expected =
      "%3 f32[T,32] = embedding(model.embed_tokens.weight q4_1[100,32], token_ids i32[T]) @ "
      "model.embed_tokens\n"
      "%4 f32[T,32] 'final' = rms_norm(%3, model.norm.weight f32[32]) @ model.norm {eps=1e-05}\n"
      "%5 f32[T,32] = activation(%4) {kind=gelu_tanh}\n"
      "%7 f32[T,32] = mul(%5, 0.5)\n"
      "%9 f32[R,32] = gather(%7, output_rows i32[R])\n"
      "%10 f32[R,100] = linear(%9, model.embed_tokens.weight q4_1[100,32], -) @ lm_head\n"
      "output logits %10\n";
  CHECK(dump(example()) == expected);
  CHECK(dump(example()) == expected);
  const auto nothing = [](const Graph&, uint32_t) { return false; };
  CHECK(dump(decompose(example(), nothing)) == dump(decompose(example(), nothing)));
}

TEST_CASE("a dump has what a node selects and sees") {
  Graph graph;
  auto k = make_attrs<llmh_top_k_attrs>();
  k.k = 2;
  test::add(graph, LLMH_OP_TOP_K, {test::placeholder(graph, test::constant_dims({4}))}, k);
  auto mask = make_attrs<llmh_mask_attrs>();
  mask.causal = 1;
  mask.chunk = 64;
  mask.n_heads = 4;
  mask.block_size = 16;
  mask.local_blocks = 2;
  mask.vertical_stride = 3;
  mask.head_step = 1;
  test::add(graph, LLMH_OP_ATTENTION_MASK, {}, mask);
  CHECK(dump(graph) ==
        "%1 f32[2], %2 i32[2] = top_k(%0) {k=2}\n"
        "%3 f32[4,T,L] = attention_mask() {causal=1 chunk=64 block_size=16 local_blocks=2 vertical_stride=3 "
        "head_step=1 n_heads=4}\n");
}

TEST_CASE("a dump has what training nodes are about") {
  Graph graph;
  const llmh_tensor x = test::placeholder(graph, {test::kTokens, constant_dim(4)});
  auto attention = make_attrs<llmh_attention_attrs>();
  attention.n_heads = attention.n_kv_heads = 2;
  attention.k_head_dim = attention.v_head_dim = 2;
  attention.top_k_ratio = 0.25F;
  test::add(graph, LLMH_OP_ATTENTION_TRAIN, {x, x, x}, attention);
  auto pad = make_attrs<llmh_pad_attrs>();
  pad.axis = 1;
  pad.begin = 3;
  pad.size = 8;
  test::add(graph, LLMH_OP_PAD, {x}, pad);
  auto activation = make_attrs<llmh_activation_attrs>();
  activation.kind = LLMH_ACT_SILU;
  test::add(graph, LLMH_OP_ACTIVATION_GRAD, {x, x}, activation);
  auto norm = make_attrs<llmh_norm_attrs>();
  norm.eps = 0.5F;
  const llmh_tensor total = test::add(graph, LLMH_OP_RMS_NORM_WEIGHT_GRAD, {x, x}, norm);
  const int64_t shape[] = {4};
  const llmh_tensor sum = graph.add_parameter("w.gradient", shape, {});
  graph.add_node(LLMH_OP_ACCUMULATE, "norm", std::vector{sum, total});
  CHECK(dump(graph) ==
        "%1 f32[T,4], %2 f32[T,2] = attention_train(%0, %0, %0) {slot=0 n_heads=2 n_kv_heads=2 k_head_dim=2 "
        "v_head_dim=2 top_k_ratio=0.25}\n"
        "%3 f32[T,8] = pad(%0) {axis=1 begin=3}\n"
        "%4 f32[T,4] = activation_grad(%0, %0) {kind=silu}\n"
        "%5 f32[4] = rms_norm_weight_grad(%0, %0) {eps=0.5}\n"
        "accumulate(w.gradient f32[4], %5) @ norm\n");
}

}  // namespace
}  // namespace llmhost::graph
