// LINEAR and MATMUL. Work is divided over rows of the weight, never over the depth of a dot product.
#include <algorithm>

#include "ops/linear.h"

namespace llmhost::cpu {
namespace {

ScratchNeed linear_scratch(const NodeView& view, const llmh_limits&) {
  return {.per_thread = decoded_bytes(view.input(1))};
}

bool supports_linear(const NodeView& view) {
  if (view.node->n_inputs < 2 || view.node->n_outputs != 1) return false;
  if (view.input(0).dtype != LLMH_DTYPE_F32 || view.output(0).dtype != LLMH_DTYPE_F32) return false;
  if (view.has_input(2) && view.input(2).dtype != LLMH_DTYPE_F32) return false;
  const llmh_tensor_info& weight = view.input(1);
  return weight.rank == 2 && constant_size(weight.dims[1]) >= 0 && is_decodable(weight);
}

void run_linear(const RunContext& context, const Call& call) {
  const Shape x = context.shape(call.inputs[0]);
  const Shape w = context.shape(call.inputs[1]);
  const int64_t tokens = x.rows();
  const int64_t rows = w.dims[0];
  const int64_t depth = w.dims[1];
  if (tokens == 0 || rows == 0) return;
  const LinearTile tile = {.x = context.floats(call.inputs[0]),
                           .w = nullptr,
                           .bias = context.floats_or_null(call, 2),
                           .y = context.out(call.outputs[0]),
                           .x_rows = nullptr,
                           .y_rows = nullptr,
                           .x_stride = depth,
                           .w_stride = 0,
                           .y_stride = rows,
                           .tokens = tokens,
                           .rows = 0,
                           .depth = depth};
  const LinearJob job = linear_job(context, call.inputs[1], tile);
  const int64_t group = group_rows(tokens, depth, rows, int64_t{4} * context.n_threads());
  const int64_t groups = (rows + group - 1) / group;
  const int64_t grain = std::max<int64_t>(1, kGrain * 4 / std::max<int64_t>(1, group * depth * tokens));
  context.parallel_ranges(groups, grain, [&](int64_t begin, int64_t end, int32_t thread) {
    for (int64_t g = begin; g < end; ++g)
      job.run_group(g * group, std::min(rows, (g + 1) * group), context.thread_scratch(thread));
  });
}

// A matrix [N, K] of any stored type: then it is a linear layer without a bias.
bool is_linear(const NodeView& view) {
  return llmh::node_attrs<llmh_matmul_attrs>(*view.node).transpose_b != 0 && view.input(1).rank == 2 &&
         view.input(0).rank >= 2 && supports_linear(view);
}

bool supports_matmul(const NodeView& view) {
  if (view.node->n_inputs != 2) return false;
  return is_linear(view) || (all_f32(view) && view.input(0).rank >= 2 && view.input(1).rank >= 2);
}

ScratchNeed matmul_scratch(const NodeView& view, const llmh_limits& limits) {
  return is_linear(view) ? linear_scratch(view, limits) : ScratchNeed{};
}

// The offset, in matrices, of batch `index` of the result within an operand whose leading dimensions
// broadcast.
int64_t matrix_index(const Shape& result, const Shape& operand, int64_t index) {
  int64_t offset = 0;
  int64_t stride = 1;
  for (int32_t i = 0; i + 2 < result.rank; ++i) {
    const int32_t axis = result.rank - 3 - i;
    const int64_t coordinate = index % result.dims[axis];
    index /= result.dims[axis];
    const int32_t own = operand.rank - 3 - i;
    if (own < 0) continue;
    if (operand.dims[own] != 1) offset += coordinate * stride;
    stride *= operand.dims[own];
  }
  return offset;
}

void run_matmul(const RunContext& context, const Call& call) {
  const bool transposed = llmh::node_attrs<llmh_matmul_attrs>(*call.node).transpose_b != 0;
  if (transposed && call.inputs[1].rank == 2 && call.inputs[1].dims[1].symbol == LLMH_DIM_CONST)
    return run_linear(context, call);
  const Shape a = context.shape(call.inputs[0]);
  const Shape b = context.shape(call.inputs[1]);
  const Shape y = context.shape(call.outputs[0]);
  const int64_t m = y.dims[y.rank - 2];
  const int64_t n = y.dims[y.rank - 1];
  const int64_t depth = a.dims[a.rank - 1];
  const float* left = context.floats(call.inputs[0]);
  const float* right = context.floats(call.inputs[1]);
  float* out = context.out(call.outputs[0]);
  const int64_t result_rows = y.count() == 0 ? 0 : y.count() / n;
  const int64_t grain = std::max<int64_t>(1, kGrain * 4 / std::max<int64_t>(1, n * depth));
  context.parallel_ranges(result_rows, grain, [&](int64_t begin, int64_t end, int32_t) {
    for (int64_t row = begin; row < end;) {
      const int64_t batch = row / m;
      const int64_t count = std::min(end, (batch + 1) * m) - row;  // rows of the same matrix
      const float* x = left + (matrix_index(y, a, batch) * m + row % m) * depth;
      const float* w = right + matrix_index(y, b, batch) * n * depth;
      if (transposed) {
        context.kernels.linear.dot({.x = x,
                                    .w = w,
                                    .bias = nullptr,
                                    .y = out + row * n,
                                    .x_rows = nullptr,
                                    .y_rows = nullptr,
                                    .x_stride = depth,
                                    .w_stride = depth,
                                    .y_stride = n,
                                    .tokens = count,
                                    .rows = n,
                                    .depth = depth});
      } else {
        for (int64_t i = 0; i < count; ++i)
          context.kernels.linear.combine(x + i * depth, w, n, depth, n, out + (row + i) * n);
      }
      row += count;
    }
  });
}

constexpr OpEntry kEntries[] = {
    {LLMH_OP_LINEAR, supports_linear, run_linear, linear_scratch},
    {LLMH_OP_MATMUL, supports_matmul, run_matmul, matmul_scratch},
};

}  // namespace

OpList linear_ops() {
  return {kEntries, std::size(kEntries)};
}

}  // namespace llmhost::cpu
