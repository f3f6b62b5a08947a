#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "core/dequantize.h"
#include "graph/eval.h"

namespace llmhost::graph::eval {
namespace {

float combine(llmh_op op, float a, float b) {
  switch (op) {
    case LLMH_OP_ADD:
      return a + b;
    case LLMH_OP_SUB:
      return a - b;
    case LLMH_OP_MUL:
      return a * b;
    default:
      return a / b;
  }
}

float apply(int32_t kind, float x) {
  switch (kind) {
    case LLMH_UNARY_NEG:
      return -x;
    case LLMH_UNARY_EXP:
      return std::exp(x);
    case LLMH_UNARY_LOG:
      return std::log(x);
    case LLMH_UNARY_SQRT:
      return std::sqrt(x);
    case LLMH_UNARY_RSQRT:
      return 1.0F / std::sqrt(x);
    case LLMH_UNARY_TANH:
      return std::tanh(x);
    case LLMH_UNARY_SIGMOID:
      return 1.0F / (1.0F + std::exp(-x));
    case LLMH_UNARY_ERF:
      return std::erf(x);
    case LLMH_UNARY_RELU:
      return x < 0 ? 0.0F : x;  // NaN stays NaN
    case LLMH_UNARY_ABS:
      return std::fabs(x);
    case LLMH_UNARY_SQUARE:
      return x * x;
    case LLMH_UNARY_SIN:
      return std::sin(x);
    case LLMH_UNARY_COS:
      return std::cos(x);
    default:
      return x > 0 ? 1.0F : 0.0F;  // LLMH_UNARY_STEP
  }
}

float largest(std::span<const float> row) {
  float result = -std::numeric_limits<float>::infinity();
  for (const float value : row) {
    if (std::isnan(value)) return value;
    result = std::max(result, value);
  }
  return result;
}

// One after another: zeros anywhere between the terms change nothing, so that a sequence's sums over the
// state do not depend on what other sequences have there.
double dot_in_order(const float* a, const float* b, int64_t count) {
  double sum = 0;
  for (int64_t i = 0; i < count; ++i) sum += static_cast<double>(a[i]) * static_cast<double>(b[i]);
  return sum;
}

// Eight sums side by side and a fixed order of adding them up, which the compiler turns into vectors; for
// rows of weights and heads, whose places never shift.
double dot(const float* a, const float* b, int64_t count) {
  std::array<double, 8> sums{};
  int64_t i = 0;
  for (; i + 8 <= count; i += 8)
    for (size_t lane = 0; lane < 8; ++lane)
      sums[lane] += static_cast<double>(a[i + static_cast<int64_t>(lane)]) *
                    static_cast<double>(b[i + static_cast<int64_t>(lane)]);
  double tail = 0;
  for (; i < count; ++i) tail += static_cast<double>(a[i]) * static_cast<double>(b[i]);
  return ((sums[0] + sums[4]) + (sums[1] + sums[5])) + ((sums[2] + sums[6]) + (sums[3] + sums[7])) + tail;
}

struct MatmulSizes {
  int64_t rows;
  int64_t columns;
  int64_t inner;
  bool transposed;
};

// Reads row n of b transposed: row n of [N,K] as stored, or column n of [K,N].
class ColumnReader {
 public:
  ColumnReader(const Operand& b, const MatmulSizes& sizes)
      : b_(b), sizes_(sizes), column_(static_cast<size_t>(sizes.inner)) {
    const llmh_dtype_layout layout = llmh_dtype_layout_of(b.dtype);
    const int64_t row = sizes.transposed ? sizes.inner : sizes.columns;
    row_bytes_ = row / layout.block_elements * layout.block_bytes;
    if (!sizes.transposed) floats_.emplace_back(b);
  }

  const float* read(int64_t matrix, int64_t column) {
    if (sizes_.transposed) {
      const std::byte* row = b_.data + (matrix * sizes_.columns + column) * row_bytes_;
      if (b_.dtype == LLMH_DTYPE_F32) return reinterpret_cast<const float*>(row);
      dequantize_row(b_.dtype, row, column_.data(), column_.size());
      return column_.data();
    }
    const float* first = floats_[0].data() + matrix * sizes_.inner * sizes_.columns + column;
    for (int64_t k = 0; k < sizes_.inner; ++k) column_[static_cast<size_t>(k)] = first[k * sizes_.columns];
    return column_.data();
  }

 private:
  const Operand& b_;
  const MatmulSizes& sizes_;
  int64_t row_bytes_ = 0;
  std::vector<float> column_;
  std::vector<Floats> floats_;  // all of b, when its columns are not stored as rows
};

}  // namespace

void binary(const NodeCall& call) {
  const Floats a(call.in(0));
  const Floats b(call.in(1));
  const Sizes& sizes = call.out().sizes;
  float* out = call.out_floats();
  const llmh_op op = call.node().op;
  std::vector<int64_t> offsets(static_cast<size_t>(call.out().count));
  for_each_index(sizes, strides_over(call.in(0).sizes, sizes),
                 [&](int64_t i, int64_t offset) { offsets[static_cast<size_t>(i)] = offset; });
  for_each_index(sizes, strides_over(call.in(1).sizes, sizes), [&](int64_t i, int64_t offset) {
    out[i] = combine(op, a[offsets[static_cast<size_t>(i)]], b[offset]);
  });
}

void unary(const NodeCall& call) {
  const Floats x(call.in(0));
  const int32_t kind = call.as<llmh_unary_attrs>().kind;
  float* out = call.out_floats();
  for (int64_t i = 0; i < call.out().count; ++i) out[i] = apply(kind, x[i]);
}

void clamp(const NodeCall& call) {
  const Floats x(call.in(0));
  const auto& attrs = call.as<llmh_clamp_attrs>();
  float* out = call.out_floats();
  for (int64_t i = 0; i < call.out().count; ++i)
    out[i] = std::clamp(x[i], attrs.min, attrs.max);  // NaN stays
}

void reduce(const NodeCall& call) {
  const Floats x(call.in(0));
  const int32_t kind = call.as<llmh_reduce_attrs>().kind;
  const int64_t width = call.in(0).sizes.back();
  float* out = call.out_floats();
  for (int64_t row = 0; row < call.out().count; ++row) {
    const std::span values(x.data() + row * width, static_cast<size_t>(width));
    if (kind == LLMH_REDUCE_MAX) {
      out[row] = largest(values);
      continue;
    }
    double sum = 0;
    for (const float value : values) sum += static_cast<double>(value);
    if (kind == LLMH_REDUCE_MEAN) sum /= static_cast<double>(width);
    out[row] = static_cast<float>(sum);
  }
}

void matmul(const NodeCall& call) {
  const Operand& a_operand = call.in(0);
  const Operand& b_operand = call.in(1);
  const Sizes& out_sizes = call.out().sizes;
  const MatmulSizes sizes{out_sizes[out_sizes.size() - 2], out_sizes.back(), a_operand.sizes.back(),
                          call.as<llmh_matmul_attrs>().transpose_b != 0};
  const Floats a(a_operand);
  ColumnReader b(b_operand, sizes);
  const auto sum = sizes.transposed ? dot : dot_in_order;
  const auto leading = [](const Sizes& all) { return Sizes(all.begin(), all.end() - 2); };
  const Sizes batch = leading(out_sizes);
  std::vector<int64_t> a_matrices(static_cast<size_t>(product(batch)));
  for_each_index(batch, strides_over(leading(a_operand.sizes), batch),
                 [&](int64_t i, int64_t matrix) { a_matrices[static_cast<size_t>(i)] = matrix; });
  float* out = call.out_floats();
  for_each_index(batch, strides_over(leading(b_operand.sizes), batch), [&](int64_t i, int64_t b_matrix) {
    const float* a_rows = a.data() + a_matrices[static_cast<size_t>(i)] * sizes.rows * sizes.inner;
    float* result = out + i * sizes.rows * sizes.columns;
    for (int64_t column = 0; column < sizes.columns; ++column) {
      const float* values = b.read(b_matrix, column);
      for (int64_t row = 0; row < sizes.rows; ++row)
        result[row * sizes.columns + column] =
            static_cast<float>(sum(a_rows + row * sizes.inner, values, sizes.inner));
    }
  });
}

}  // namespace llmhost::graph::eval
