// REDUCE_TO: sums over the dimensions that were stretched. Of a result with rows of its own each element is
// one sum in ascending order; of one without, rows are summed in parts of fixed size.
#include "ops/rows.h"

namespace llmhost::cpu {
namespace {

// Some dimensions of x, with its strides.
struct Axes {
  int32_t n = 0;
  int64_t size[LLMH_MAX_RANK] = {};
  int64_t stride[LLMH_MAX_RANK] = {};

  int64_t count() const {
    int64_t product = 1;
    for (int32_t i = 0; i < n; ++i) product *= size[i];
    return product;
  }
  // Where element `index`, counted row-major, lies in x.
  int64_t offset(int64_t index) const {
    int64_t result = 0;
    for (int32_t i = n - 1; i >= 0; --i) {
      result += index % size[i] * stride[i];
      index /= size[i];
    }
    return result;
  }
  // A dimension outside those that are there; one that continues the last found joins it.
  void add_outer(int64_t dim_size, int64_t dim_stride, bool joins) {
    if (joins) {
      size[0] *= dim_size;
      return;
    }
    for (int32_t i = n; i > 0; --i) {
      size[i] = size[i - 1];
      stride[i] = stride[i - 1];
    }
    size[0] = dim_size;
    stride[0] = dim_stride;
    ++n;
  }
};

struct Reduction {
  Axes kept;
  Axes summed;
  bool sums_last = false;  // the elements of the innermost dimension
};

// Dimensions of size 1 are neither. What a dimension is follows from the result's, not from a step's sizes
// alone.
Reduction reduction_of(const Shape& x, const Shape& y) {
  Reduction r;
  int64_t stride = 1;
  int32_t last = 0;  // 1: kept, 2: summed
  for (int32_t i = 1; i <= x.rank; ++i) {
    const int64_t size = x.dims[x.rank - i];
    if (size == 1) continue;
    const bool is_summed = i > y.rank || y.dims[y.rank - i] == 1;
    const int32_t kind = is_summed ? 2 : 1;
    if (last == 0) r.sums_last = is_summed;
    (is_summed ? r.summed : r.kept).add_outer(size, stride, last == kind);
    last = kind;
    stride *= size;
  }
  return r;
}

// The innermost axis of those given, taken off them.
int64_t take_inner(Axes& axes) {
  return axes.n == 0 ? 1 : axes.size[--axes.n];
}

bool has_own_rows(const Call& call) {
  return call.outputs[0].row_symbol != LLMH_DIM_CONST;
}

void sum_inner(const RunContext& context, Reduction r, const float* x, float* y) {
  const int64_t n = take_inner(r.summed);
  const int64_t outer = r.summed.count();
  const auto reduce = context.kernels.norm.reduce;
  context.parallel_ranges(r.kept.count(), kGrain / (n * outer + 1) + 1,
                          [&](int64_t begin, int64_t end, int32_t) {
                            for (int64_t i = begin; i < end; ++i) {
                              const float* at = x + r.kept.offset(i);
                              float sum = 0;
                              for (int64_t k = 0; k < outer; ++k)
                                sum += reduce(LLMH_REDUCE_SUM, at + r.summed.offset(k), n);
                              y[i] = sum;
                            }
                          });
}

void sum_outer(const RunContext& context, const Call& call, Reduction r, const float* x, float* y) {
  const int64_t n = take_inner(r.kept);
  const int64_t rows = r.summed.count();
  const auto add = [&](const float* row, float* sums) {
    context.kernels.elementwise.binary(BinaryOp::kAdd, sums, 1, row, 1, n, sums);
  };
  if (!has_own_rows(call) && r.kept.n == 0)
    return sum_rows(context, rows, n, y,
                    [&](int64_t row, float* sums) { add(x + r.summed.offset(row), sums); });
  context.parallel_ranges(r.kept.count(), kGrain / (n * rows + 1) + 1,
                          [&](int64_t begin, int64_t end, int32_t) {
                            for (int64_t i = begin; i < end; ++i) {
                              const float* at = x + r.kept.offset(i);
                              std::fill_n(y + i * n, n, 0.0F);
                              for (int64_t row = 0; row < rows; ++row)
                                add(at + r.summed.offset(row), y + i * n);
                            }
                          });
}

void run_reduce_to(const RunContext& context, const Call& call) {
  const Shape x = context.shape(call.inputs[0]);
  const Shape y = context.shape(call.outputs[0]);
  const float* in = context.floats(call.inputs[0]);
  float* out = context.out(call.outputs[0]);
  if (x.count() == 0) {
    std::fill_n(out, y.count(), 0.0F);
    return;
  }
  const Reduction r = reduction_of(x, y);
  r.sums_last ? sum_inner(context, r, in, out) : sum_outer(context, call, r, in, out);
}

// Of the parts in which rows of a result without rows of its own are summed.
ScratchNeed reduce_scratch(const NodeView& view, const llmh_limits& limits) {
  int64_t n = 1;
  int64_t all = 1;
  for (const llmh_dim& dim : dims_of(view.output(0))) {
    if (dim.symbol != LLMH_DIM_CONST) return {};
    n *= dim.size;
  }
  for (const llmh_dim& dim : dims_of(view.input(0))) all *= largest_size(dim, limits);
  return {.per_thread = 0, .shared = n == 0 ? 0 : sum_rows_bytes(all / n, n)};
}

constexpr OpEntry kEntries[] = {{.op = LLMH_OP_REDUCE_TO,
                                 .supports = all_f32,
                                 .run = run_reduce_to,
                                 .scratch = reduce_scratch,
                                 .is_row_wise = true}};

}  // namespace

OpList reduce_ops() {
  return {kEntries, std::size(kEntries)};
}

}  // namespace llmhost::cpu
