#include "model/layout_steps.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <numeric>
#include <utility>

#include "llmhost/op.h"

namespace llmhost::model {
namespace {

// A tensor as matrices below each other; of a vector the elements are the rows.
struct Matrices {
  size_t count = 1;
  size_t rows = 1;
  size_t columns = 1;
};

Matrices matrices_of(const std::vector<int64_t>& shape) {
  const auto at = [&](size_t axis) { return static_cast<size_t>(shape[axis]); };
  if (shape.size() == 1) return {1, at(0), 1};
  if (shape.size() == 2) return {1, at(0), at(1)};
  return {at(0), at(1), at(2)};
}

// The axis whose elements are the rows.
size_t row_axis(const std::vector<int64_t>& shape) {
  return shape.size() == 3 ? 1 : 0;
}

int64_t row_elements(const std::vector<int64_t>& shape) {
  return shape.size() < 2 ? 1 : shape.back();
}

std::string pair_rows(const llmh_layout_step& step, const std::vector<int64_t>& shape) {
  const bool fits =
      !shape.empty() && 0 < step.arg0 && step.arg0 <= shape[0] / 2 && shape[0] % (2 * step.arg0) == 0;
  return fits ? "" : fmt::format("its rows cannot be split into rotary pairs of {} heads", step.arg0);
}

std::string cut_rows(const llmh_layout_step& step, std::vector<int64_t>& shape) {
  int64_t& rows = shape[row_axis(shape)];
  if (step.arg0 < 0 || step.arg0 >= step.arg1 || step.arg1 > rows)
    return fmt::format("it has no rows {} to {}", step.arg0, step.arg1);
  rows = step.arg1 - step.arg0;
  return "";
}

std::string cut_strided_rows(const llmh_layout_step& step, std::vector<int64_t>& shape) {
  int64_t& rows = shape[row_axis(shape)];
  const bool fits = 0 < step.arg0 && 0 <= step.arg1 && step.arg1 < step.arg2 && step.arg2 <= step.arg0 &&
                    rows % step.arg0 == 0;
  if (!fits) return fmt::format("it has no rows {} to {} of each {}", step.arg1, step.arg2, step.arg0);
  rows = rows / step.arg0 * (step.arg2 - step.arg1);
  return "";
}

std::string split(const llmh_layout_step& step, std::vector<int64_t>& shape) {
  const bool fits = !shape.empty() && shape.size() < LLMH_MAX_RANK && 0 < step.arg0 &&
                    step.arg0 <= shape[0] && shape[0] % step.arg0 == 0;
  if (!fits) return fmt::format("it cannot be split into {} parts", step.arg0);
  shape[0] /= step.arg0;
  shape.insert(shape.begin(), step.arg0);
  return "";
}

// The row of what is there that becomes row `row` of the result.
size_t source_row(const llmh_layout_step& step, size_t rows, size_t row) {
  const auto arg0 = static_cast<size_t>(step.arg0);
  const auto arg1 = static_cast<size_t>(step.arg1);
  if (step.layout == LLMH_LAYOUT_ROWS) return arg0 + row;
  if (step.layout == LLMH_LAYOUT_STRIDED_ROWS) {
    const size_t taken = static_cast<size_t>(step.arg2) - arg1;
    return row / taken * arg0 + arg1 + row % taken;
  }
  // Row (head, half, i) of the result is row (head, i, half) of what was there.
  const size_t half_rows = rows / arg0 / 2;
  const size_t head = row / (2 * half_rows);
  const size_t half = row / half_rows % 2;
  return (head * half_rows + row % half_rows) * 2 + half;
}

void take_rows(const llmh_layout_step& step, const std::vector<int64_t>& shape, WeightData& weight) {
  Matrices from = matrices_of(weight.shape);
  Matrices to = matrices_of(shape);
  if (step.layout == LLMH_LAYOUT_ROTARY_PAIRS)
    from = to = {1, static_cast<size_t>(shape[0]),
                 static_cast<size_t>(element_count(shape)) / static_cast<size_t>(shape[0])};
  const size_t size = weight.bytes.size() / (from.count * from.rows);
  if (stays_in_place(step, weight.shape)) {
    weight.bytes = weight.bytes.subspan(size * source_row(step, from.rows, 0), size * to.rows);
    if (!weight.owned.empty()) weight.keep({weight.bytes.begin(), weight.bytes.end()});
    return;
  }
  std::vector<std::byte> result(size * to.count * to.rows);
  std::byte* out = result.data();
  for (size_t matrix = 0; matrix < to.count; ++matrix)
    for (size_t row = 0; row < to.rows; ++row, out += size)
      std::memcpy(out, weight.bytes.data() + (matrix * from.rows + source_row(step, from.rows, row)) * size,
                  size);
  weight.keep(std::move(result));
}

// In tiles, so that neither side is read or written across a whole column at a time.
template <size_t kSize>
void transpose_matrix(const std::byte* in, std::byte* out, size_t rows, size_t columns) {
  constexpr size_t kTile = 32;
  for (size_t r0 = 0; r0 < rows; r0 += kTile)
    for (size_t c0 = 0; c0 < columns; c0 += kTile)
      for (size_t c = c0; c < std::min(columns, c0 + kTile); ++c)
        for (size_t r = r0; r < std::min(rows, r0 + kTile); ++r)
          std::memcpy(out + (c * rows + r) * kSize, in + (r * columns + c) * kSize, kSize);
}

void transpose(WeightData& weight) {
  const Matrices from = matrices_of(weight.shape);
  const size_t size = llmh_dtype_layout_of(weight.dtype).block_bytes;
  const auto transpose_one = size == 1   ? transpose_matrix<1>
                             : size == 2 ? transpose_matrix<2>
                             : size == 4 ? transpose_matrix<4>
                                         : transpose_matrix<8>;
  std::vector<std::byte> result(weight.bytes.size());
  const size_t matrix_bytes = from.rows * from.columns * size;
  for (size_t i = 0; i < from.count; ++i)
    transpose_one(weight.bytes.data() + i * matrix_bytes, result.data() + i * matrix_bytes, from.rows,
                  from.columns);
  weight.keep(std::move(result));
}

}  // namespace

void WeightData::keep(std::vector<std::byte> made) {
  owned = std::move(made);
  bytes = owned;
}

uint64_t element_count(std::span<const int64_t> shape) {
  return static_cast<uint64_t>(std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>()));
}

uint64_t byte_count(llmh_dtype dtype, std::span<const int64_t> shape) {
  const llmh_dtype_layout layout = llmh_dtype_layout_of(dtype);
  return element_count(shape) / layout.block_elements * layout.block_bytes;
}

std::string change_shape(const llmh_layout_step& step, std::vector<int64_t>& shape) {
  if (step.layout == LLMH_LAYOUT_SAME) return "";
  if (step.layout == LLMH_LAYOUT_ROTARY_PAIRS) return pair_rows(step, shape);
  if (step.layout == LLMH_LAYOUT_SPLIT) return split(step, shape);
  if (shape.empty() || shape.size() > 3)
    return "only vectors, matrices and stacks of matrices have rows to take or turn";
  if (element_count(shape) == 0) return "it is empty";
  if (step.layout == LLMH_LAYOUT_ROWS) return cut_rows(step, shape);
  if (step.layout == LLMH_LAYOUT_STRIDED_ROWS) return cut_strided_rows(step, shape);
  if (shape.size() > 1) std::swap(shape[shape.size() - 1], shape[shape.size() - 2]);
  return "";
}

bool splits_blocks(const llmh_layout_step& step, const std::vector<int64_t>& shape, llmh_dtype dtype) {
  const auto block = static_cast<int64_t>(llmh_dtype_layout_of(dtype).block_elements);
  if (block < 2 || step.layout == LLMH_LAYOUT_SAME) return false;
  if (step.layout == LLMH_LAYOUT_TRANSPOSED) return shape.size() > 1;
  if (step.layout == LLMH_LAYOUT_SPLIT && shape.size() == 1) return shape[0] / step.arg0 % block != 0;
  return row_elements(shape) % block != 0;
}

bool stays_in_place(const llmh_layout_step& step, const std::vector<int64_t>& shape) {
  switch (step.layout) {
    case LLMH_LAYOUT_TRANSPOSED:
      return shape.size() < 2;
    case LLMH_LAYOUT_ROTARY_PAIRS:
      return false;
    case LLMH_LAYOUT_ROWS:
      return matrices_of(shape).count == 1;
    case LLMH_LAYOUT_STRIDED_ROWS: {
      const Matrices matrices = matrices_of(shape);
      return matrices.count == 1 && matrices.rows == static_cast<size_t>(step.arg0);
    }
    default:
      return true;
  }
}

void apply_step(const llmh_layout_step& step, WeightData& weight) {
  std::vector<int64_t> shape = weight.shape;
  change_shape(step, shape);
  const bool moves_rows = step.layout == LLMH_LAYOUT_ROTARY_PAIRS || step.layout == LLMH_LAYOUT_ROWS ||
                          step.layout == LLMH_LAYOUT_STRIDED_ROWS;
  if (moves_rows) take_rows(step, shape, weight);
  if (step.layout == LLMH_LAYOUT_TRANSPOSED && shape.size() > 1) transpose(weight);
  weight.shape = std::move(shape);
}

}  // namespace llmhost::model
