// CROSS_ENTROPY and its gradient, on logits that are there.
#include "ops/labels.h"
#include "ops/rows.h"

namespace llmhost::cpu {
namespace {

bool supports_loss(const NodeView& view, uint32_t n_inputs) {
  return view.node->n_inputs == n_inputs && view.input(0).dtype == LLMH_DTYPE_F32 &&
         view.input(0).rank == 2 && view.input(1).dtype == LLMH_DTYPE_I32;
}

bool supports_cross_entropy(const NodeView& view) {
  return supports_loss(view, 2);
}

bool supports_cross_entropy_grad(const NodeView& view) {
  return supports_loss(view, 3) && view.input(2).dtype == LLMH_DTYPE_F32;
}

// Of a row: its largest logit and the sum of exp of the others below it.
struct Softmax {
  float largest;
  float sum;

  Softmax(const LossKernels& kernels, const float* logits, int64_t n)
      : largest(kernels.largest(logits, n)), sum(kernels.exp_sum(logits, n, largest)) {}
};

void run_cross_entropy(const RunContext& context, const Call& call) {
  const Shape shape = context.shape(call.inputs[0]);
  const int64_t n = shape.last();
  const float* logits = context.floats(call.inputs[0]);
  const int32_t* labels = checked_labels(context, call, 1, shape.rows(), n);
  float* loss = context.out(call.outputs[0]);
  for_rows(context, shape, [&](int64_t row) {
    loss[row] = 0;
    if (labels[row] == kNoLabel) return;
    const float* x = logits + row * n;
    const Softmax softmax(context.kernels.loss, x, n);
    loss[row] = loss_of(softmax.largest, static_cast<double>(softmax.sum), x[labels[row]]);
  });
}

void run_cross_entropy_grad(const RunContext& context, const Call& call) {
  const Shape shape = context.shape(call.inputs[0]);
  const int64_t n = shape.last();
  const float* logits = context.floats(call.inputs[0]);
  const int32_t* labels = checked_labels(context, call, 1, shape.rows(), n);
  const float* dloss = context.floats(call.inputs[2]);
  float* dlogits = context.out(call.outputs[0]);
  for_rows(context, shape, [&](int64_t row) {
    float* dx = dlogits + row * n;
    if (labels[row] == kNoLabel) {
      std::fill_n(dx, n, 0.0F);
      return;
    }
    const LossKernels& kernels = context.kernels.loss;
    const Softmax softmax(kernels, logits + row * n, n);
    kernels.exp_scaled(logits + row * n, n, softmax.largest, dloss[row] / softmax.sum, dx);
    dx[labels[row]] -= dloss[row];
  });
}

constexpr OpEntry kEntries[] = {
    {.op = LLMH_OP_CROSS_ENTROPY, .supports = supports_cross_entropy, .run = run_cross_entropy},
    {.op = LLMH_OP_CROSS_ENTROPY_GRAD,
     .supports = supports_cross_entropy_grad,
     .run = run_cross_entropy_grad},
};

}  // namespace

OpList loss_ops() {
  return {kEntries, std::size(kEntries)};
}

}  // namespace llmhost::cpu
