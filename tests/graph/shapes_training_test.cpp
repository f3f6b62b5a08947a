// The shape rules of the training ops.
#include <doctest/doctest.h>

#include "core/error.h"
#include "graph/dump.h"
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
  llmh_dim rows = symbol_dim(LLMH_DIM_OUTPUTS);
  llmh_tensor labels = graph.add_input(LLMH_INPUT_LABELS);

  std::string shape(llmh_tensor tensor) { return to_text(dims_of(graph.tensor(tensor))); }
  std::vector<llmh_tensor> node(llmh_op op, const std::vector<llmh_tensor>& inputs) {
    return graph.add_node(op, "m", inputs);
  }
  template <typename Attrs>
  std::vector<llmh_tensor> node(llmh_op op, const std::vector<llmh_tensor>& inputs, const Attrs& attrs) {
    return graph.add_node(op, "m", inputs, &attrs, sizeof attrs);
  }
};

TEST_CASE_FIXTURE(Fixture, "labels are a row's input, a loss is f32 [R]") {
  CHECK(shape(labels) == "[R]");
  CHECK(graph.tensor(labels).dtype == LLMH_DTYPE_I32);
  CHECK(to_view(graph.tensor(labels).name) == "labels");
  const llmh_tensor logits = placeholder(graph, {rows, constant_dim(9)});
  const llmh_tensor loss = node(LLMH_OP_CROSS_ENTROPY, {logits, labels})[0];
  CHECK(shape(loss) == "[R]");
  CHECK_THROWS_WITH_AS(graph.add_output(LLMH_OUTPUT_LOSS, logits),
                       "graph output loss: the tensor is f32[R,9], it must be f32[R]", Error);
  CHECK_THROWS_AS(graph.add_output(LLMH_OUTPUT_LOSS, labels), Error);
  graph.add_output(LLMH_OUTPUT_LOSS, loss);
  CHECK(dump(graph).ends_with("output loss %2\n"));
  CHECK_THROWS_WITH_AS(node(LLMH_OP_CROSS_ENTROPY, {placeholder(graph, {kTokens, constant_dim(9)}), labels}),
                       "cross_entropy at m: labels are i32[R], they must be i32[T]", Error);
  CHECK(shape(node(LLMH_OP_CROSS_ENTROPY_GRAD, {logits, labels, loss})[0]) == "[R,9]");
  CHECK_THROWS_AS(node(LLMH_OP_CROSS_ENTROPY_GRAD, {logits, labels, logits}), Error);
}

TEST_CASE_FIXTURE(Fixture, "transposes of movement check places and sizes") {
  const llmh_tensor x = placeholder(graph, {kTokens, constant_dim(4)});
  CHECK(shape(emit.reduce_to(x, constant_dims({4}))) == "[4]");
  CHECK(shape(emit.reduce_to(x, {kTokens, constant_dim(1)})) == "[T,1]");
  CHECK_THROWS_WITH_AS(emit.reduce_to(x, constant_dims({3})),
                       "reduce_to: [3] and [T,4] do not stretch over each other", Error);
  CHECK_THROWS_WITH_AS(emit.reduce_to(x, {constant_dim(5), kTokens, constant_dim(4)}),
                       "reduce_to: [5,T,4] does not stretch to x, which is [T,4]", Error);
  auto pad = make_attrs<llmh_pad_attrs>();
  pad.axis = 1;
  pad.begin = 2;
  pad.size = 6;
  CHECK(shape(node(LLMH_OP_PAD, {x}, pad)[0]) == "[T,6]");
  pad.begin = 3;
  CHECK_THROWS_WITH_AS(node(LLMH_OP_PAD, {x}, pad),
                       "pad at m: x is [T,4]: at 3 along axis 1 it does not fit into 6", Error);
  pad.begin = INT64_MAX;
  CHECK_THROWS_AS(node(LLMH_OP_PAD, {x}, pad), Error);
  pad.axis = 0;
  CHECK_THROWS_WITH_AS(node(LLMH_OP_PAD, {x}, pad), "pad at m: axis 0 of [T,4] has no constant size", Error);

  auto dims = make_attrs<llmh_shape_attrs>();
  dims.rank = 2;
  dims.dims[0] = constant_dim(9);
  dims.dims[1] = constant_dim(4);
  const llmh_tensor ids = graph.add_input(LLMH_INPUT_TOKEN_IDS);
  CHECK(shape(node(LLMH_OP_SCATTER_ADD, {x, ids}, dims)[0]) == "[9,4]");
  dims.dims[1] = constant_dim(5);
  CHECK_THROWS_WITH_AS(
      node(LLMH_OP_SCATTER_ADD, {x, ids}, dims),
      "scatter_add at m: x is [T,4], the result [9,5]: they may differ in the first dimension only", Error);
  CHECK_THROWS_WITH_AS(node(LLMH_OP_SCATTER_ADD, {x, labels}, dims),
                       "scatter_add at m: ids are i32[R], they must be i32[T]", Error);
  auto width = make_attrs<llmh_width_attrs>();
  const llmh_tensor places = placeholder(graph, {kTokens, constant_dim(4)}, LLMH_DTYPE_I32);
  CHECK_THROWS_WITH_AS(node(LLMH_OP_SCATTER_LAST, {x, places}, width),
                       "scatter_last at m: width is 0, it must be positive", Error);
  width.width = 7;
  CHECK(shape(node(LLMH_OP_SCATTER_LAST, {x, places}, width)[0]) == "[T,7]");
}

TEST_CASE_FIXTURE(Fixture, "dropout wants rows of tokens or outputs and a chance below one") {
  auto attrs = make_attrs<llmh_dropout_attrs>();
  attrs.p = 0.5F;
  attrs.site = 3;
  const llmh_tensor x = placeholder(graph, {kTokens, constant_dim(2), constant_dim(4)});
  CHECK(shape(node(LLMH_OP_DROPOUT, {x}, attrs)[0]) == "[T,2,4]");
  CHECK(dump(graph) == "%2 f32[T,2,4] = dropout(%1) @ m {p=0.5 site=3}\n");
  CHECK_THROWS_WITH_AS(node(LLMH_OP_DROPOUT, {placeholder(graph, constant_dims({4}))}, attrs),
                       "dropout at m: x is [4], it must have a row for each token or output", Error);
  attrs.p = 1;
  CHECK_THROWS_WITH_AS(node(LLMH_OP_DROPOUT, {x}, attrs),
                       "dropout at m: p is 1, it must be at least 0 and less than 1", Error);
}

TEST_CASE_FIXTURE(Fixture, "gradients of products have their operands' shapes") {
  const llmh_tensor dy = placeholder(graph, {kTokens, constant_dim(3)});
  const llmh_tensor x = placeholder(graph, {kTokens, constant_dim(32)});
  const llmh_tensor weight = placeholder(graph, constant_dims({3, 32}), LLMH_DTYPE_Q4_0);
  CHECK(shape(node(LLMH_OP_LINEAR_INPUT_GRAD, {dy, weight})[0]) == "[T,32]");
  CHECK_THROWS_WITH_AS(node(LLMH_OP_LINEAR_INPUT_GRAD, {x, weight}),
                       "linear_input_grad at m: dy is [T,32], the weight [3,32] wants 3 columns", Error);
  CHECK(shape(node(LLMH_OP_LINEAR_WEIGHT_GRAD, {dy, x})[0]) == "[3,32]");
  CHECK_THROWS_WITH_AS(node(LLMH_OP_LINEAR_WEIGHT_GRAD, {dy, placeholder(graph, {rows, constant_dim(2)})}),
                       "linear_weight_grad at m: x is [R,2], it must be [T,2]", Error);

  const llmh_tensor expert_dy = placeholder(graph, {kTokens, constant_dim(2), constant_dim(3)});
  const llmh_tensor experts = placeholder(graph, constant_dims({5, 3, 32}), LLMH_DTYPE_BF16);
  const llmh_tensor ids = placeholder(graph, {kTokens, constant_dim(2)}, LLMH_DTYPE_I32);
  CHECK(shape(node(LLMH_OP_EXPERT_LINEAR_INPUT_GRAD, {expert_dy, experts, ids})[0]) == "[T,2,32]");
  CHECK_THROWS_AS(node(LLMH_OP_EXPERT_LINEAR_INPUT_GRAD, {dy, experts, ids}), Error);
  auto width = make_attrs<llmh_width_attrs>();
  width.width = 5;
  CHECK(shape(node(LLMH_OP_EXPERT_LINEAR_WEIGHT_GRAD, {expert_dy, x, ids}, width)[0]) == "[5,3,32]");
  CHECK(shape(node(LLMH_OP_EXPERT_LINEAR_WEIGHT_GRAD, {expert_dy, expert_dy, ids}, width)[0]) == "[5,3,3]");
  CHECK_THROWS_WITH_AS(node(LLMH_OP_EXPERT_LINEAR_WEIGHT_GRAD, {expert_dy, weight, ids}, width),
                       "expert_linear_weight_grad at m: x is q4_0, it must be a floating type", Error);
}

TEST_CASE_FIXTURE(Fixture, "a head's loss, row norms") {
  const llmh_tensor x = placeholder(graph, {rows, constant_dim(32)});
  const llmh_tensor weight = placeholder(graph, constant_dims({9, 32}), LLMH_DTYPE_Q8_0);
  auto head = make_attrs<llmh_head_attrs>();
  const auto made = node(LLMH_OP_LINEAR_CROSS_ENTROPY, {x, weight, LLMH_NO_TENSOR, labels}, head);
  CHECK(shape(made[0]) == "[R]");
  CHECK(shape(made[1]) == "[R,32]");
  head.softcap = -1;
  CHECK_THROWS_WITH_AS(node(LLMH_OP_LINEAR_CROSS_ENTROPY, {x, weight, LLMH_NO_TENSOR, labels}, head),
                       "linear_cross_entropy at m: softcap is -1", Error);
  CHECK_THROWS_WITH_AS(node(LLMH_OP_LINEAR_CROSS_ENTROPY, {x, weight, LLMH_NO_TENSOR}, head),
                       "linear_cross_entropy at m: the input 'labels' is missing", Error);

  auto scalar = make_attrs<llmh_scalar_attrs>();
  const llmh_tensor a = placeholder(graph, constant_dims({2, 32}));
  const llmh_tensor b = placeholder(graph, constant_dims({9, 2}));
  CHECK(shape(node(LLMH_OP_LOW_RANK_ROW_NORMS, {weight}, scalar)[0]) == "[9]");
  CHECK(shape(node(LLMH_OP_LOW_RANK_ROW_NORMS, {weight, a, b}, scalar)[0]) == "[9]");
  CHECK_THROWS_WITH_AS(node(LLMH_OP_LOW_RANK_ROW_NORMS, {weight, a}, scalar),
                       "low_rank_row_norms at m: a and b are given together or not at all", Error);
  CHECK_THROWS_WITH_AS(node(LLMH_OP_LOW_RANK_ROW_NORMS, {weight, b, a}, scalar),
                       "low_rank_row_norms at m: a is [9,2], it must be [9,32]", Error);
}

TEST_CASE_FIXTURE(Fixture, "gradients of norms, activations and attention") {
  const llmh_tensor x = placeholder(graph, {kTokens, constant_dim(8)});
  const llmh_tensor weight = placeholder(graph, constant_dims({8}));
  auto norm = make_attrs<llmh_norm_attrs>();
  for (const llmh_op op : {LLMH_OP_RMS_NORM_GRAD, LLMH_OP_LAYER_NORM_GRAD}) {
    CHECK(shape(node(op, {x, weight, x}, norm)[0]) == "[T,8]");
    CHECK(shape(node(op, {x, LLMH_NO_TENSOR, x}, norm)[0]) == "[T,8]");
    CHECK_THROWS_AS(node(op, {x, weight}, norm), Error);
    CHECK_THROWS_AS(node(op, {x, weight, weight}, norm), Error);
  }
  CHECK(shape(node(LLMH_OP_RMS_NORM_WEIGHT_GRAD, {x, x}, norm)[0]) == "[8]");
  CHECK(shape(node(LLMH_OP_LAYER_NORM_WEIGHT_GRAD, {x, x}, norm)[0]) == "[8]");
  norm.adapter_site = 1;
  CHECK_THROWS_WITH_AS(node(LLMH_OP_RMS_NORM_WEIGHT_GRAD, {x, x}, norm),
                       "rms_norm_weight_grad at m: adapter_site is 1: gradients have no sites", Error);

  auto activation = make_attrs<llmh_activation_attrs>();
  CHECK_THROWS_AS(node(LLMH_OP_ACTIVATION_GRAD, {x, x}, activation), Error);
  activation.kind = LLMH_ACT_SILU;
  CHECK(shape(node(LLMH_OP_ACTIVATION_GRAD, {x, x}, activation)[0]) == "[T,8]");
  CHECK_THROWS_AS(node(LLMH_OP_ACTIVATION_GRAD, {x, weight}, activation), Error);
  CHECK(node(LLMH_OP_GATED_ACTIVATION_GRAD, {x, x, x}, activation).size() == 2);
  CHECK_THROWS_AS(node(LLMH_OP_GATED_ACTIVATION_GRAD, {x, x, weight}, activation), Error);
  CHECK_THROWS_AS(node(LLMH_OP_SOFTMAX_GRAD, {x, weight}), Error);

  auto attention = make_attrs<llmh_attention_attrs>();
  attention.n_heads = 4;
  attention.n_kv_heads = attention.k_head_dim = attention.v_head_dim = 2;
  attention.scale = 1;
  const llmh_tensor kv = placeholder(graph, {kTokens, constant_dim(4)});
  const auto forward = node(LLMH_OP_ATTENTION_TRAIN, {x, kv, kv}, attention);
  CHECK(shape(forward[0]) == "[T,8]");
  CHECK(shape(forward[1]) == "[T,4]");
  const auto back = node(LLMH_OP_ATTENTION_GRAD,
                         {x, kv, kv, LLMH_NO_TENSOR, LLMH_NO_TENSOR, forward[0], forward[1], x}, attention);
  REQUIRE(back.size() == 4);
  CHECK(shape(back[0]) == "[T,8]");
  CHECK(shape(back[2]) == "[T,4]");
  CHECK(shape(back[3]) == "[4]");
  CHECK_THROWS_WITH_AS(
      node(LLMH_OP_ATTENTION_GRAD, {x, kv, kv, LLMH_NO_TENSOR, LLMH_NO_TENSOR, forward[0], x, x}, attention),
      "attention_grad at m: lse is [T,8], it must be [T,4]", Error);
}

}  // namespace
}  // namespace llmhost::graph
