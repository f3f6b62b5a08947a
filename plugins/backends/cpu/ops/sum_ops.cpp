// SCATTER_ADD, ACCUMULATE and LOW_RANK_ROW_NORMS.
#include <cmath>
#include <string>

#include "ops/gemm.h"
#include "ops/linear.h"
#include "ops/rows.h"

namespace llmhost::cpu {
namespace {

// --- SCATTER_ADD

bool supports_scatter_add(const NodeView& view) {
  return view.node->n_inputs == 2 && view.input(0).dtype == LLMH_DTYPE_F32 && view.input(0).rank >= 1 &&
         view.input(1).dtype == LLMH_DTYPE_I32;
}

void check_ids(const Call& call, const int32_t* ids, int64_t n, int64_t rows) {
  for (int64_t i = 0; i < n; ++i)
    if (ids[i] < 0 || ids[i] >= rows)
      throw llmh::Error(LLMH_OUT_OF_RANGE, "[cpu] " + std::string(llmh::view(call.node->path)) + ": id " +
                                               std::to_string(ids[i]) + " at index " + std::to_string(i) +
                                               " is outside the " + std::to_string(rows) + " rows");
}

// Columns are divided among threads: one adds all that a column gets, in order.
void run_scatter_add(const RunContext& context, const Call& call) {
  const Shape result = context.shape(call.outputs[0]);
  const int32_t* ids = context.ints(call.inputs[1]);
  const int64_t n = context.shape(call.inputs[1]).count();
  const int64_t rows = result.dims[0];
  check_ids(call, ids, n, rows);
  const int64_t width = rows == 0 ? 0 : result.count() / rows;
  const float* x = context.floats(call.inputs[0]);
  float* y = context.out(call.outputs[0]);
  context.parallel_ranges(result.count(), kGrain,
                          [&](int64_t begin, int64_t end, int32_t) { std::fill(y + begin, y + end, 0.0F); });
  constexpr int64_t kLeastColumns = 64;
  const int64_t grain = std::max(kLeastColumns, kGrain / (n + 1));
  context.parallel_ranges(width, grain, [&](int64_t begin, int64_t end, int32_t) {
    for (int64_t i = 0; i < n; ++i) {
      float* sum = y + ids[i] * width + begin;
      context.kernels.elementwise.binary(BinaryOp::kAdd, sum, 1, x + i * width + begin, 1, end - begin, sum);
    }
  });
}

// --- ACCUMULATE

bool supports_accumulate(const NodeView& view) {
  return view.node->n_inputs == 2 && all_f32(view) && view.input(0).role == LLMH_TENSOR_PARAMETER;
}

void run_accumulate(const RunContext& context, const Call& call) {
  auto* sum = reinterpret_cast<float*>(call.inputs[0].data);
  const float* x = context.floats(call.inputs[1]);
  for_elements(context, call, [&](int64_t at, int64_t n) {
    context.kernels.elementwise.binary(BinaryOp::kAdd, sum + at, 1, x + at, 1, n, sum + at);
  });
}

// --- LOW_RANK_ROW_NORMS

constexpr int64_t kNormRows = 14;  // of a piece of work

bool supports_row_norms(const NodeView& view) {
  const llmh_tensor_info& weight = view.input(0);
  if (weight.rank != 2 || !is_decodable(weight) || constant_size(weight.dims[0]) < 0) return false;
  for (uint32_t i = 1; i < view.node->n_inputs; ++i)
    if (view.has_input(i) && view.input(i).dtype != LLMH_DTYPE_F32) return false;
  return view.output(0).dtype == LLMH_DTYPE_F32;
}

ScratchNeed row_norms_scratch(const NodeView& view, const llmh_limits&) {
  const int64_t depth = constant_size(view.input(0).dims[1]);
  return {.per_thread = static_cast<uint64_t>(2 * kNormRows * row_floats(depth)) * sizeof(float) +
                        gemm_scratch_bytes(depth)};
}

struct RowNorms {
  const RunContext& context;
  const Call& call;
  GemmRight weight;
  int64_t depth;
  float value;

  RowNorms(const RunContext& run, const Call& node)
      : context(run),
        call(node),
        weight(right_of(run, node.inputs[0], 0, false)),
        depth(node.inputs[0].dims[1].size),
        value(llmh::node_attrs<llmh_scalar_attrs>(*node.node).value) {}

  bool has_low_rank() const { return call.inputs.size() > 2 && call.inputs[1].present; }

  // The rows of b a, `depth` apart.
  void multiply(int64_t row, int64_t n, float* out, float* scratch) const {
    Gemm gemm;
    gemm.m = n;
    gemm.n = depth;
    gemm.depth = call.inputs[1].dims[0].size;
    gemm.left = {context.floats(call.inputs[2]) + row * gemm.depth, nullptr, gemm.depth, n};
    gemm.right = right_of(context, call.inputs[1], 0, true);
    gemm.c = out;
    gemm.c_stride = depth;
    const GemmGrid grid = gemm_grid(context.kernels.gemm, gemm, 1);
    for (int64_t i = 0; i < grid.count(); ++i) run_piece(context.kernels.gemm, gemm, grid, i, scratch);
  }

  void run(int64_t begin, int64_t end, float* out, float* scratch) const {
    const ElementwiseKernels& kernels = context.kernels.elementwise;
    float* delta = scratch;
    float* memory = delta + kNormRows * row_floats(depth);
    if (has_low_rank()) multiply(begin, end - begin, delta, memory + kNormRows * row_floats(depth));
    for (int64_t row = begin; row < end; ++row) {
      const float* v = weight.row(row, 0, depth, memory);
      if (has_low_rank()) {
        float* sum = delta + (row - begin) * depth;
        kernels.scale(value, sum, depth, sum);
        kernels.binary(BinaryOp::kAdd, sum, 1, v, 1, depth, sum);
        v = sum;
      }
      out[row] = static_cast<float>(std::sqrt(context.kernels.loss.sum_of_squares(v, depth)));
    }
  }
};

void run_row_norms(const RunContext& context, const Call& call) {
  const RowNorms norms(context, call);
  const int64_t rows = call.inputs[0].dims[0].size;
  float* out = context.out(call.outputs[0]);
  context.parallel((rows + kNormRows - 1) / kNormRows, [&](int64_t item, int32_t thread) {
    const int64_t begin = item * kNormRows;
    norms.run(begin, std::min(begin + kNormRows, rows), out, context.thread_scratch(thread));
  });
}

constexpr OpEntry kEntries[] = {
    {.op = LLMH_OP_SCATTER_ADD, .supports = supports_scatter_add, .run = run_scatter_add},
    {.op = LLMH_OP_ACCUMULATE, .supports = supports_accumulate, .run = run_accumulate},
    {.op = LLMH_OP_LOW_RANK_ROW_NORMS,
     .supports = supports_row_norms,
     .run = run_row_norms,
     .scratch = row_norms_scratch},
};

}  // namespace

OpList sum_ops() {
  return {kEntries, std::size(kEntries)};
}

}  // namespace llmhost::cpu
