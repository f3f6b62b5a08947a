// Gradients of norms, softmax and activations, and dropout.
#include "kernels/dropout.h"
#include "ops/rows.h"

namespace llmhost::cpu {
namespace {

bool supports_rows(const NodeView& view) {
  return all_f32(view) && view.node->n_inputs >= 1 && view.input(0).rank >= 1;
}

// --- Norms

using NormGrad = void (*)(const float* x, const float* w, const float* dy, float eps, float offset, int64_t n,
                          float* dx);
using NormWeightGrad = void (*)(const float* x, const float* dy, float eps, int64_t n, float* sums);

void norm_grad(const RunContext& context, const Call& call, NormGrad kernel) {
  const auto attrs = llmh::node_attrs<llmh_norm_attrs>(*call.node);
  const Shape shape = context.shape(call.inputs[0]);
  const int64_t n = shape.last();
  const float* x = context.floats(call.inputs[0]);
  const float* w = context.floats_or_null(call, 1);
  const float* dy = context.floats(call.inputs[2]);
  float* dx = context.out(call.outputs[0]);
  for_rows(context, shape, [&](int64_t row) {
    kernel(x + row * n, w, dy + row * n, attrs.eps, attrs.weight_offset, n, dx + row * n);
  });
}

void norm_weight_grad(const RunContext& context, const Call& call, NormWeightGrad kernel) {
  const auto attrs = llmh::node_attrs<llmh_norm_attrs>(*call.node);
  const Shape shape = context.shape(call.inputs[0]);
  const int64_t n = shape.last();
  const float* x = context.floats(call.inputs[0]);
  const float* dy = context.floats(call.inputs[1]);
  sum_rows(context, shape.rows(), n, context.out(call.outputs[0]),
           [&](int64_t row, float* sums) { kernel(x + row * n, dy + row * n, attrs.eps, n, sums); });
}

void run_rms_norm_grad(const RunContext& context, const Call& call) {
  norm_grad(context, call, context.kernels.gradient.rms);
}
void run_layer_norm_grad(const RunContext& context, const Call& call) {
  norm_grad(context, call, context.kernels.gradient.layer);
}
void run_rms_norm_weight_grad(const RunContext& context, const Call& call) {
  norm_weight_grad(context, call, context.kernels.gradient.rms_weight);
}
void run_layer_norm_weight_grad(const RunContext& context, const Call& call) {
  norm_weight_grad(context, call, context.kernels.gradient.layer_weight);
}

bool supports_norm_grad(const NodeView& view) {
  return supports_rows(view) && view.node->n_inputs == 3 &&
         llmh::node_attrs<llmh_norm_attrs>(*view.node).adapter_site == 0;
}

ScratchNeed weight_grad_scratch(const NodeView& view, const llmh_limits& limits) {
  const llmh_tensor_info& x = view.input(0);
  const int64_t n = largest_size(x.dims[x.rank - 1], limits);
  return {.per_thread = 0, .shared = sum_rows_bytes(largest_rows(dims_of(x), limits), n)};
}

// --- Softmax, activations

void run_softmax_grad(const RunContext& context, const Call& call) {
  const Shape shape = context.shape(call.inputs[0]);
  const int64_t n = shape.last();
  const float* y = context.floats(call.inputs[0]);
  const float* dy = context.floats(call.inputs[1]);
  float* dx = context.out(call.outputs[0]);
  for_rows(context, shape, [&](int64_t row) {
    context.kernels.gradient.softmax(y + row * n, dy + row * n, n, dx + row * n);
  });
}

bool supports_activation(const NodeView& view) {
  const int32_t kind = llmh::node_attrs<llmh_activation_attrs>(*view.node).kind;
  return all_f32(view) && kind >= LLMH_ACT_SILU && kind <= LLMH_ACT_GELU_QUICK;
}

void run_activation_grad(const RunContext& context, const Call& call) {
  const int32_t kind = llmh::node_attrs<llmh_activation_attrs>(*call.node).kind;
  const float* x = context.floats(call.inputs[0]);
  const float* dy = context.floats(call.inputs[1]);
  float* dx = context.out(call.outputs[0]);
  for_elements(context, call, [&](int64_t at, int64_t n) {
    context.kernels.gradient.activation(kind, x + at, dy + at, n, dx + at);
  });
}

void run_gated_grad(const RunContext& context, const Call& call) {
  const int32_t kind = llmh::node_attrs<llmh_activation_attrs>(*call.node).kind;
  const float* gate = context.floats(call.inputs[0]);
  const float* up = context.floats(call.inputs[1]);
  const float* dy = context.floats(call.inputs[2]);
  float* dgate = context.out(call.outputs[0]);
  float* dup = context.out(call.outputs[1]);
  for_elements(context, call, [&](int64_t at, int64_t n) {
    context.kernels.gradient.gated(kind, gate + at, up + at, dy + at, n, dgate + at, dup + at);
  });
}

// --- Dropout

bool supports_dropout(const NodeView& view) {
  const float p = llmh::node_attrs<llmh_dropout_attrs>(*view.node).p;
  return supports_rows(view) && p >= 0 && p < 1;
}

void run_dropout(const RunContext& context, const Call& call) {
  const auto attrs = llmh::node_attrs<llmh_dropout_attrs>(*call.node);
  const Shape shape = context.shape(call.inputs[0]);
  const int64_t count = shape.count();
  const float* x = context.floats(call.inputs[0]);
  float* y = context.out(call.outputs[0]);
  const uint64_t seed = context.step.dropout_seed;
  if (seed == 0 || attrs.p == 0) {
    for_elements(context, call, [&](int64_t at, int64_t n) { std::copy_n(x + at, n, y + at); });
    return;
  }
  if (count == 0) return;
  const int64_t n = count / shape.dims[0];
  const Window& window = context.window();
  const int64_t first = window.symbol == call.inputs[0].row_symbol ? window.begin : 0;
  const uint32_t least = dropout_least(attrs.p);
  const float factor = 1.0F / (1.0F - attrs.p);
  context.parallel_ranges(shape.dims[0], kGrain / n + 1, [&](int64_t begin, int64_t end, int32_t) {
    for (int64_t row = begin; row < end; ++row)
      context.kernels.gradient.dropout(dropout_state(seed, attrs.site, first + row), least, factor, 0,
                                       x + row * n, n, y + row * n);
  });
}

constexpr OpEntry kEntries[] = {
    {.op = LLMH_OP_RMS_NORM_GRAD,
     .supports = supports_norm_grad,
     .run = run_rms_norm_grad,
     .is_row_wise = true},
    {.op = LLMH_OP_LAYER_NORM_GRAD,
     .supports = supports_norm_grad,
     .run = run_layer_norm_grad,
     .is_row_wise = true},
    {LLMH_OP_RMS_NORM_WEIGHT_GRAD, supports_rows, run_rms_norm_weight_grad, weight_grad_scratch},
    {LLMH_OP_LAYER_NORM_WEIGHT_GRAD, supports_rows, run_layer_norm_weight_grad, weight_grad_scratch},
    {.op = LLMH_OP_SOFTMAX_GRAD, .supports = supports_rows, .run = run_softmax_grad, .is_row_wise = true},
    {.op = LLMH_OP_ACTIVATION_GRAD,
     .supports = supports_activation,
     .run = run_activation_grad,
     .is_row_wise = true},
    {.op = LLMH_OP_GATED_ACTIVATION_GRAD,
     .supports = supports_activation,
     .run = run_gated_grad,
     .is_row_wise = true},
    {.op = LLMH_OP_DROPOUT, .supports = supports_dropout, .run = run_dropout, .is_row_wise = true},
};

}  // namespace

OpList gradient_ops() {
  return {kEntries, std::size(kEntries)};
}

}  // namespace llmhost::cpu
