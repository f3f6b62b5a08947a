// The shape and dtype rules: what they give and what they say when inputs do not fit.
#include <doctest/doctest.h>

#include "core/error.h"
#include "graph/emit.h"
#include "graph_run.h"

namespace llmhost::graph {
namespace {

using test::constant_dims;
using test::kTokens;
using test::placeholder;

struct Fixture {
  Graph graph;
  Emit emit{graph, ""};
  std::string shape(llmh_tensor tensor) { return to_text(dims_of(graph.tensor(tensor))); }
};

TEST_CASE_FIXTURE(Fixture, "elementwise ops stretch as numpy does") {
  const llmh_tensor rows = placeholder(graph, {kTokens, constant_dim(1)});
  const llmh_tensor columns = placeholder(graph, constant_dims({8}));
  CHECK(shape(emit.add(rows, columns)) == "[T,8]");
  CHECK(shape(emit.mul(columns, graph.scalar(2))) == "[8]");
  const llmh_tensor cube = placeholder(graph, {constant_dim(3), kTokens, constant_dim(8)});
  CHECK(shape(emit.sub(columns, cube)) == "[3,T,8]");
  const llmh_tensor other = placeholder(graph, {symbol_dim(LLMH_DIM_OUTPUTS), constant_dim(8)});
  CHECK_THROWS_WITH_AS(emit.add(cube, other), "add: [3,T,8] and [R,8] do not stretch over each other", Error);
  CHECK_THROWS_WITH_AS(emit.add(columns, graph.add_input(LLMH_INPUT_TOKEN_IDS)),
                       "add: b is i32, it must be a floating type", Error);
}

TEST_CASE_FIXTURE(Fixture, "matmul stretches leading dimensions") {
  const llmh_tensor a = placeholder(graph, {constant_dim(2), constant_dim(3), kTokens, constant_dim(8)});
  const llmh_tensor b =
      placeholder(graph, {constant_dim(2), constant_dim(1), symbol_dim(LLMH_DIM_STATE), constant_dim(8)});
  CHECK(shape(emit.matmul(a, b, true)) == "[2,3,T,L]");
  CHECK_THROWS_WITH_AS(emit.matmul(a, b, false),
                       "matmul: a is [2,3,T,8], b is [2,1,L,8]: the inner dimensions differ", Error);
  const llmh_tensor packed = placeholder(graph, constant_dims({32, 32}), LLMH_DTYPE_Q4_0);
  CHECK_THROWS_WITH_AS(emit.matmul(placeholder(graph, constant_dims({2, 32})), packed, false),
                       "matmul: b is q4_0: rows stored in blocks need transpose_b", Error);
}

TEST_CASE_FIXTURE(Fixture, "reshape keeps the element count whatever T is") {
  const llmh_tensor x = placeholder(graph, {kTokens, constant_dim(12)});
  CHECK(shape(emit.reshape(x, {kTokens, constant_dim(3), constant_dim(4)})) == "[T,3,4]");
  CHECK(shape(emit.reshape(x, {symbol_dim(LLMH_DIM_TOKENS, 6), constant_dim(2)})) == "[6T,2]");
  CHECK_THROWS_WITH_AS(emit.reshape(x, {kTokens, constant_dim(11)}),
                       "reshape: [T,12] has not as many elements as [T,11]", Error);
  CHECK_THROWS_AS(emit.reshape(x, {symbol_dim(LLMH_DIM_OUTPUTS), constant_dim(12)}), Error);
}

TEST_CASE_FIXTURE(Fixture, "movement ops check axes and ranges") {
  const llmh_tensor x = placeholder(graph, {kTokens, constant_dim(12)});
  CHECK(shape(emit.permute(x, {1, 0})) == "[12,T]");
  CHECK(shape(emit.slice(x, 1, 4, 7)) == "[T,3]");
  CHECK(shape(emit.concat({x, x, emit.slice(x, 1, 0, 1)}, 1)) == "[T,25]");
  CHECK(shape(emit.broadcast(graph.scalar(1), {kTokens, constant_dim(2)})) == "[T,2]");
  CHECK_THROWS_WITH_AS(emit.permute(x, {1, 1}), "permute: axis 1 is given twice", Error);
  CHECK_THROWS_WITH_AS(emit.slice(x, 1, 4, 13), "slice: [4,13) is outside axis 1 of [T,12]", Error);
  CHECK_THROWS_WITH_AS(emit.slice(x, 0, 0, 1), "slice: axis 0 of [T,12] has no constant size", Error);
  CHECK_THROWS_WITH_AS(emit.concat({x, x}, 0), "concat: axis 0 of [T,12] has no constant size", Error);
  CHECK_THROWS_WITH_AS(emit.broadcast(x, {kTokens, constant_dim(24)}),
                       "broadcast: [T,12] and [T,24] do not stretch over each other", Error);
}

TEST_CASE_FIXTURE(Fixture, "gather and cast keep track of element types") {
  const llmh_tensor table = placeholder(graph, constant_dims({100, 64}), LLMH_DTYPE_Q8_0);
  const llmh_tensor rows = emit.gather(table, graph.add_input(LLMH_INPUT_TOKEN_IDS));
  CHECK(shape(rows) == "[T,64]");
  CHECK(graph.tensor(rows).dtype == LLMH_DTYPE_Q8_0);
  CHECK(graph.tensor(emit.cast(rows, LLMH_DTYPE_F32)).dtype == LLMH_DTYPE_F32);
  CHECK_THROWS_AS(emit.cast(rows, LLMH_DTYPE_F16), Error);
  CHECK_THROWS_AS(emit.cast(emit.cast(rows, LLMH_DTYPE_F32), LLMH_DTYPE_Q8_0), Error);
  CHECK_THROWS_WITH_AS(emit.reshape(table, constant_dims({6400})),
                       "reshape: x is q8_0, which is stored in blocks: cast it to f32 first", Error);
}

TEST_CASE_FIXTURE(Fixture, "attention explains what its inputs must be") {
  auto attrs = make_attrs<llmh_attention_attrs>();
  attrs.n_heads = 6;
  attrs.n_kv_heads = 4;
  attrs.k_head_dim = attrs.v_head_dim = 8;
  const llmh_tensor q = placeholder(graph, {kTokens, constant_dim(48)});
  const llmh_tensor k = placeholder(graph, {kTokens, constant_dim(16)});
  const llmh_tensor inputs[] = {q, k, k};
  const auto add = [&] { graph.add_node(LLMH_OP_ATTENTION, "attn", inputs, &attrs, sizeof attrs); };
  CHECK_THROWS_WITH_AS(add(), "attention at attn: 6 heads cannot share 4 key/value heads evenly", Error);
  attrs.n_kv_heads = 3;
  CHECK_THROWS_WITH_AS(add(), "attention at attn: k is [T,16], 3 heads of 8 want [T,24]", Error);
  attrs.n_kv_heads = 2;
  add();
  CHECK(shape(graph.node(0).outputs[0]) == "[T,48]");
}

TEST_CASE_FIXTURE(Fixture, "masks have heads when their blocks are sparse") {
  auto attrs = make_attrs<llmh_mask_attrs>();
  const auto add = [&] { return test::add(graph, LLMH_OP_ATTENTION_MASK, {}, attrs); };
  attrs.chunk = 8;
  CHECK(shape(add()) == "[T,L]");
  attrs.n_heads = 3;
  CHECK_THROWS_WITH_AS(add(), "attention_mask: n_heads is 3 without block_size", Error);
  attrs.block_size = 16;
  CHECK_THROWS_WITH_AS(add(), "attention_mask: vertical_stride is 0, sparse blocks need 1 or more", Error);
  attrs.vertical_stride = 4;
  CHECK(shape(add()) == "[3,T,L]");
  attrs.n_heads = 0;
  CHECK_THROWS_WITH_AS(add(), "attention_mask: n_heads is 0, sparse blocks need it", Error);
  attrs.chunk = -1;
  CHECK_THROWS_WITH_AS(add(), "attention_mask: chunk is -1", Error);
}

TEST_CASE("sizes overflow into an error, never into a small number") {
  const Dims dims = {constant_dim(int64_t{1} << 40), constant_dim(int64_t{1} << 40)};
  CHECK_THROWS_AS(element_count(dims, {}), Error);
  CHECK_THROWS_AS(byte_count(LLMH_DTYPE_F32, Dims{constant_dim(INT64_MAX / 2)}, {}), Error);
  CHECK_THROWS_AS(byte_count(LLMH_DTYPE_Q4_K, Dims{constant_dim(100)}, {}), Error);
  CHECK(byte_count(LLMH_DTYPE_Q4_K, Dims{kTokens, constant_dim(512)}, {3, 0, 0, 0}) == 3 * 2 * 144);
}

}  // namespace
}  // namespace llmhost::graph
