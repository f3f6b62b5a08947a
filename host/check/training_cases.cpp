#include "check/training_suite.h"

namespace llmhost::check {
namespace {

using graph::constant_dim;
using graph::Dims;
using graph::make_attrs;
using graph::symbol_dim;

using Tensors = std::vector<llmh_tensor>;

constexpr int64_t kWidth = 32;
constexpr int64_t kVocabulary = 64;  // of the token ids, which serve as labels too

llmh_shape_attrs shape_of(const Dims& dims) {
  auto attrs = make_attrs<llmh_shape_attrs>();
  attrs.rank = static_cast<int32_t>(dims.size());
  for (size_t i = 0; i < dims.size(); ++i) attrs.dims[i] = dims[i];
  return attrs;
}

llmh_width_attrs width_of(int64_t width) {
  auto attrs = make_attrs<llmh_width_attrs>();
  attrs.width = width;
  return attrs;
}

Tensors sum_of_rows(TrainingInputs& g) {
  return g.node(LLMH_OP_REDUCE_TO, {g.rows(kWidth)}, shape_of({constant_dim(kWidth)}));
}

Tensors sum_in_rows(TrainingInputs& g) {
  return g.node(LLMH_OP_REDUCE_TO, {g.rows(kWidth)},
                shape_of({symbol_dim(LLMH_DIM_TOKENS), constant_dim(1)}));
}

Tensors pad(TrainingInputs& g) {
  auto attrs = make_attrs<llmh_pad_attrs>();
  attrs.axis = 1;
  attrs.begin = 7;
  attrs.size = 48;
  return g.node(LLMH_OP_PAD, {g.rows(kWidth)}, attrs);
}

Tensors scatter_outputs(TrainingInputs& g) {
  return g.node(LLMH_OP_SCATTER_ADD, {g.outputs(kWidth), g.graph.add_input(LLMH_INPUT_OUTPUT_ROWS)},
                shape_of({symbol_dim(LLMH_DIM_TOKENS), constant_dim(kWidth)}));
}

Tensors scatter_tokens(TrainingInputs& g) {
  return g.node(LLMH_OP_SCATTER_ADD, {g.rows(kWidth), g.graph.add_input(LLMH_INPUT_TOKEN_IDS)},
                shape_of({constant_dim(kVocabulary), constant_dim(kWidth)}));
}

Tensors scatter_last(TrainingInputs& g) {
  return g.node(LLMH_OP_SCATTER_LAST, {g.rows(3), g.chosen(10, 3)}, width_of(10));
}

Tensors detach(TrainingInputs& g) {
  return g.node(LLMH_OP_DETACH, {g.rows(kWidth)});
}

Tensors step(TrainingInputs& g) {
  auto attrs = make_attrs<llmh_unary_attrs>();
  attrs.kind = LLMH_UNARY_STEP;
  return g.node(LLMH_OP_UNARY, {g.rows(kWidth)}, attrs);
}

Tensors dropout(TrainingInputs& g) {
  auto attrs = make_attrs<llmh_dropout_attrs>();
  attrs.p = 0.3F;
  attrs.site = 5;
  return g.node(LLMH_OP_DROPOUT, {g.rows(kWidth)}, attrs);
}

Tensors row_norms(TrainingInputs& g) {
  auto attrs = make_attrs<llmh_scalar_attrs>();
  attrs.value = 1.5F;
  return g.node(LLMH_OP_LOW_RANK_ROW_NORMS,
                {g.constant({24, kWidth}), g.parameter({4, kWidth}), g.parameter({24, 4})}, attrs);
}

Tensors accumulate(TrainingInputs& g) {
  const llmh_tensor sum = g.parameter({kWidth});
  return g.node(LLMH_OP_ACCUMULATE, {sum, sum_of_rows(g)[0]});
}

Tensors cross_entropy(TrainingInputs& g) {
  return g.node(LLMH_OP_CROSS_ENTROPY, {g.outputs(kVocabulary), g.graph.add_input(LLMH_INPUT_LABELS)});
}

Tensors cross_entropy_grad(TrainingInputs& g) {
  const llmh_tensor logits = g.outputs(kVocabulary);
  const llmh_tensor labels = g.graph.add_input(LLMH_INPUT_LABELS);
  const llmh_tensor loss = g.node(LLMH_OP_CROSS_ENTROPY, {logits, labels})[0];
  return g.node(LLMH_OP_CROSS_ENTROPY_GRAD, {logits, labels, loss});
}

template <int Capped>
Tensors head_loss(TrainingInputs& g) {
  auto attrs = make_attrs<llmh_head_attrs>();
  attrs.value = Capped != 0 ? 0.7F : 0;
  attrs.softcap = Capped != 0 ? 3.0F : 0;
  const llmh_tensor bias = Capped != 0 ? g.constant({kVocabulary}) : LLMH_NO_TENSOR;
  return g.node(
      LLMH_OP_LINEAR_CROSS_ENTROPY,
      {g.outputs(kWidth), g.constant({kVocabulary, kWidth}), bias, g.graph.add_input(LLMH_INPUT_LABELS)},
      attrs);
}

Tensors trained_linear(TrainingInputs& g) {
  return g.node(LLMH_OP_LINEAR, {g.rows(kWidth), g.parameter({20, kWidth}), g.parameter({20})});
}

Tensors trained_embedding(TrainingInputs& g) {
  return g.node(LLMH_OP_EMBEDDING, {g.parameter({kVocabulary, 12}), g.graph.add_input(LLMH_INPUT_TOKEN_IDS)});
}

Tensors linear_input_grad(TrainingInputs& g) {
  return g.node(LLMH_OP_LINEAR_INPUT_GRAD, {g.rows(20), g.constant({20, kWidth})});
}

Tensors linear_weight_grad(TrainingInputs& g) {
  return g.node(LLMH_OP_LINEAR_WEIGHT_GRAD, {g.rows(20), g.rows(kWidth)});
}

llmh_tensor expert_rows(TrainingInputs& g, int64_t width) {
  const Dims dims = {symbol_dim(LLMH_DIM_TOKENS), constant_dim(2), constant_dim(width)};
  return g.node(LLMH_OP_RESHAPE, {g.rows(2 * width)}, shape_of(dims))[0];
}

Tensors expert_input_grad(TrainingInputs& g) {
  return g.node(LLMH_OP_EXPERT_LINEAR_INPUT_GRAD,
                {expert_rows(g, 12), g.constant({5, 12, kWidth}), g.chosen(5, 2)});
}

Tensors expert_weight_grad(TrainingInputs& g) {
  return g.node(LLMH_OP_EXPERT_LINEAR_WEIGHT_GRAD, {expert_rows(g, 12), g.rows(kWidth), g.chosen(5, 2)},
                width_of(5));
}

template <llmh_op Op>
Tensors norm_grad(TrainingInputs& g) {
  auto attrs = make_attrs<llmh_norm_attrs>();
  attrs.eps = 1e-5F;
  attrs.weight_offset = 1;
  return g.node(Op, {g.rows(kWidth), g.constant({kWidth}), g.rows(kWidth)}, attrs);
}

template <llmh_op Op>
Tensors norm_weight_grad(TrainingInputs& g) {
  auto attrs = make_attrs<llmh_norm_attrs>();
  attrs.eps = 1e-5F;
  return g.node(Op, {g.rows(kWidth), g.rows(kWidth)}, attrs);
}

template <int32_t Kind>
Tensors activation_grad(TrainingInputs& g) {
  auto attrs = make_attrs<llmh_activation_attrs>();
  attrs.kind = Kind;
  return g.node(LLMH_OP_ACTIVATION_GRAD, {g.rows(kWidth), g.rows(kWidth)}, attrs);
}

template <int32_t Kind>
Tensors gated_grad(TrainingInputs& g) {
  auto attrs = make_attrs<llmh_activation_attrs>();
  attrs.kind = Kind;
  return g.node(LLMH_OP_GATED_ACTIVATION_GRAD, {g.rows(kWidth), g.rows(kWidth), g.rows(kWidth)}, attrs);
}

Tensors softmax_grad(TrainingInputs& g) {
  const llmh_tensor y = g.node(LLMH_OP_SOFTMAX, {g.rows(kWidth)})[0];
  return g.node(LLMH_OP_SOFTMAX_GRAD, {y, g.rows(kWidth)});
}

enum class Attend { kPlain, kWindowed, kSinks, kSparse, kTopK };

template <Attend Kind>
llmh_attention_attrs attention_attrs() {
  auto attrs = make_attrs<llmh_attention_attrs>();
  attrs.n_heads = 4;
  attrs.n_kv_heads = 2;
  attrs.k_head_dim = 8;
  attrs.v_head_dim = 8;
  attrs.scale = 0.5F;
  attrs.causal = 1;
  if (Kind == Attend::kWindowed) {
    attrs.window = 3;
    attrs.softcap = 2;
  }
  if (Kind == Attend::kSparse) {
    attrs.block_size = 2;
    attrs.local_blocks = 1;
    attrs.vertical_stride = 2;
    attrs.head_step = 1;
  }
  if (Kind == Attend::kTopK) attrs.top_k_ratio = 0.5F;
  return attrs;
}

template <Attend Kind>
Tensors attention_inputs(TrainingInputs& g) {
  const llmh_tensor q = g.rows(kWidth);
  const llmh_tensor k = g.rows(16);
  const llmh_tensor v = g.rows(16);
  if (Kind != Attend::kSinks) return {q, k, v, LLMH_NO_TENSOR, LLMH_NO_TENSOR};
  const llmh_tensor slopes = g.constant({4});
  return {q, k, v, slopes, g.constant({4})};
}

template <Attend Kind>
Tensors attention_train(TrainingInputs& g) {
  return g.node(LLMH_OP_ATTENTION_TRAIN, attention_inputs<Kind>(g), attention_attrs<Kind>());
}

template <Attend Kind>
Tensors attention_grad(TrainingInputs& g) {
  Tensors inputs = attention_inputs<Kind>(g);
  const Tensors forward = g.node(LLMH_OP_ATTENTION_TRAIN, inputs, attention_attrs<Kind>());
  inputs.insert(inputs.end(), forward.begin(), forward.end());
  inputs.push_back(g.rows(kWidth));
  return g.node(LLMH_OP_ATTENTION_GRAD, inputs, attention_attrs<Kind>());
}

constexpr TrainingCase kCases[] = {
    {"reduce_to_columns", LLMH_OP_REDUCE_TO, &sum_of_rows},
    {"reduce_to_rows", LLMH_OP_REDUCE_TO, &sum_in_rows},
    {"pad", LLMH_OP_PAD, &pad},
    {"scatter_add_outputs", LLMH_OP_SCATTER_ADD, &scatter_outputs},
    {"scatter_add_tokens", LLMH_OP_SCATTER_ADD, &scatter_tokens},
    {"scatter_last", LLMH_OP_SCATTER_LAST, &scatter_last},
    {"detach", LLMH_OP_DETACH, &detach},
    {"step", LLMH_OP_UNARY, &step},
    {"dropout", LLMH_OP_DROPOUT, &dropout},
    {"low_rank_row_norms", LLMH_OP_LOW_RANK_ROW_NORMS, &row_norms},
    {"accumulate", LLMH_OP_ACCUMULATE, &accumulate},
    {"attention_train", LLMH_OP_ATTENTION_TRAIN, &attention_train<Attend::kPlain>},
    {"attention_train_window_softcap", LLMH_OP_ATTENTION_TRAIN, &attention_train<Attend::kWindowed>},
    {"attention_train_slopes_sinks", LLMH_OP_ATTENTION_TRAIN, &attention_train<Attend::kSinks>},
    {"attention_train_sparse", LLMH_OP_ATTENTION_TRAIN, &attention_train<Attend::kSparse>},
    {"attention_train_top_k", LLMH_OP_ATTENTION_TRAIN, &attention_train<Attend::kTopK>},
    {"attention_grad", LLMH_OP_ATTENTION_GRAD, &attention_grad<Attend::kPlain>},
    {"attention_grad_window_softcap", LLMH_OP_ATTENTION_GRAD, &attention_grad<Attend::kWindowed>},
    {"attention_grad_slopes_sinks", LLMH_OP_ATTENTION_GRAD, &attention_grad<Attend::kSinks>},
    {"attention_grad_sparse", LLMH_OP_ATTENTION_GRAD, &attention_grad<Attend::kSparse>},
    {"attention_grad_top_k", LLMH_OP_ATTENTION_GRAD, &attention_grad<Attend::kTopK>},
    {"cross_entropy", LLMH_OP_CROSS_ENTROPY, &cross_entropy},
    {"cross_entropy_grad", LLMH_OP_CROSS_ENTROPY_GRAD, &cross_entropy_grad},
    {"linear_cross_entropy", LLMH_OP_LINEAR_CROSS_ENTROPY, &head_loss<0>},
    {"linear_cross_entropy_softcap", LLMH_OP_LINEAR_CROSS_ENTROPY, &head_loss<1>},
    {"linear_of_parameter", LLMH_OP_LINEAR, &trained_linear},
    {"embedding_of_parameter", LLMH_OP_EMBEDDING, &trained_embedding},
    {"linear_input_grad", LLMH_OP_LINEAR_INPUT_GRAD, &linear_input_grad},
    {"linear_weight_grad", LLMH_OP_LINEAR_WEIGHT_GRAD, &linear_weight_grad},
    {"expert_linear_input_grad", LLMH_OP_EXPERT_LINEAR_INPUT_GRAD, &expert_input_grad},
    {"expert_linear_weight_grad", LLMH_OP_EXPERT_LINEAR_WEIGHT_GRAD, &expert_weight_grad},
    {"rms_norm_grad", LLMH_OP_RMS_NORM_GRAD, &norm_grad<LLMH_OP_RMS_NORM_GRAD>},
    {"rms_norm_weight_grad", LLMH_OP_RMS_NORM_WEIGHT_GRAD, &norm_weight_grad<LLMH_OP_RMS_NORM_WEIGHT_GRAD>},
    {"layer_norm_grad", LLMH_OP_LAYER_NORM_GRAD, &norm_grad<LLMH_OP_LAYER_NORM_GRAD>},
    {"layer_norm_weight_grad", LLMH_OP_LAYER_NORM_WEIGHT_GRAD,
     &norm_weight_grad<LLMH_OP_LAYER_NORM_WEIGHT_GRAD>},
    {"silu_grad", LLMH_OP_ACTIVATION_GRAD, &activation_grad<LLMH_ACT_SILU>},
    {"gelu_grad", LLMH_OP_ACTIVATION_GRAD, &activation_grad<LLMH_ACT_GELU>},
    {"gelu_tanh_grad", LLMH_OP_ACTIVATION_GRAD, &activation_grad<LLMH_ACT_GELU_TANH>},
    {"relu_squared_grad", LLMH_OP_ACTIVATION_GRAD, &activation_grad<LLMH_ACT_RELU_SQUARED>},
    {"tanh_grad", LLMH_OP_ACTIVATION_GRAD, &activation_grad<LLMH_ACT_TANH>},
    {"gated_silu_grad", LLMH_OP_GATED_ACTIVATION_GRAD, &gated_grad<LLMH_ACT_SILU>},
    {"gated_gelu_tanh_grad", LLMH_OP_GATED_ACTIVATION_GRAD, &gated_grad<LLMH_ACT_GELU_TANH>},
    {"softmax_grad", LLMH_OP_SOFTMAX_GRAD, &softmax_grad},
};

}  // namespace

std::span<const TrainingCase> all_training_cases() {
  return kCases;
}

}  // namespace llmhost::check
