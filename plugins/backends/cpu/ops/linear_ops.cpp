// LINEAR and MATMUL. Work is divided over rows of the weight, never over the depth of a dot product.
#include <algorithm>

#include "ops/op.h"

namespace llmhost::cpu {
namespace {

constexpr int64_t kFewTokens = 4;
constexpr int64_t kFewRows = 8;                       // decoded rows stay in the first-level cache
constexpr int64_t kDecodedFloats = (256 * 1024) / 4;  // many tokens: in the second-level cache

// At least one vector, so that it may be divided by.
int64_t row_floats(int64_t depth) {
  return padded_lanes(std::max<int64_t>(depth, 1));
}

int64_t group_rows(int64_t tokens, int64_t depth, int64_t rows, int32_t threads) {
  if (tokens <= kFewTokens) return kFewRows;
  const int64_t fitting = std::clamp<int64_t>(kDecodedFloats / row_floats(depth), kFewRows, 64);
  const int64_t share = std::max<int64_t>((rows + threads * 4 - 1) / (threads * 4), kFewRows);
  return std::min(fitting, share) / 4 * 4;
}

ScratchNeed linear_scratch(const NodeView& view, const llmh_limits&) {
  const llmh_tensor_info& weight = view.input(1);
  const int64_t depth = std::max<int64_t>(constant_size(weight.dims[1]), 0);
  const int64_t floats = std::max(kDecodedFloats, kFewRows * row_floats(depth));
  return {.per_thread = static_cast<uint64_t>(floats) * sizeof(float)};
}

bool supports_linear(const NodeView& view) {
  if (view.node->n_inputs < 2 || view.node->n_outputs != 1) return false;
  if (view.input(0).dtype != LLMH_DTYPE_F32 || view.output(0).dtype != LLMH_DTYPE_F32) return false;
  if (view.has_input(2) && view.input(2).dtype != LLMH_DTYPE_F32) return false;
  const llmh_tensor_info& weight = view.input(1);
  return weight.rank == 2 && constant_size(weight.dims[1]) >= 0 && is_decodable(weight);
}

// The rows [begin, end) of the weight for all tokens.
struct LinearJob {
  LinearTile tile;  // all tokens; w, bias, y and rows are filled in for a group
  const uint8_t* weight;
  int64_t row_bytes;
  DecodeFn decode;  // null: rows are f32 in place
  const Kernels* kernels;

  void run_group(int64_t begin, int64_t end, float* scratch) const {
    LinearTile part = tile;
    part.rows = end - begin;
    part.y = tile.y + begin;
    if (tile.bias != nullptr) part.bias = tile.bias + begin;
    const uint8_t* source = weight + begin * row_bytes;
    if (decode == nullptr) {
      part.w = reinterpret_cast<const float*>(source);
      part.w_stride = tile.depth;
    } else {
      part.w = scratch;
      part.w_stride = row_floats(tile.depth);
      for (int64_t r = 0; r < part.rows; ++r)
        decode(source + r * row_bytes, tile.depth, scratch + r * part.w_stride);
    }
    kernels->linear.dot(part);
  }
};

void run_linear(const RunContext& context, const Call& call) {
  const Shape x = context.shape(call.inputs[0]);
  const Shape w = context.shape(call.inputs[1]);
  const int64_t tokens = x.rows();
  const int64_t rows = w.dims[0];
  const int64_t depth = w.dims[1];
  if (tokens == 0 || rows == 0) return;
  const llmh_dtype dtype = call.inputs[1].dtype;
  const llmh_dtype_layout layout = llmh_dtype_layout_of(dtype);
  LinearJob job{};
  job.tile = {.x = context.floats(call.inputs[0]),
              .w = nullptr,
              .bias = context.floats_or_null(call, 2),
              .y = context.out(call.outputs[0]),
              .x_stride = depth,
              .w_stride = 0,
              .y_stride = rows,
              .tokens = tokens,
              .rows = 0,
              .depth = depth};
  job.weight = context.data(call.inputs[1]);
  job.row_bytes = depth / layout.block_elements * layout.block_bytes;
  const bool in_place =
      dtype == LLMH_DTYPE_F32 && reinterpret_cast<uintptr_t>(job.weight) % alignof(float) == 0;
  job.decode = in_place ? nullptr : context.kernels.decode.by_dtype[dtype];
  job.kernels = &context.kernels;

  const int64_t group = group_rows(tokens, depth, rows, context.n_threads());
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
