// Work over the rows of a tensor, and sums over them that do not depend on who adds.
#pragma once

#include <algorithm>

#include "ops/op.h"

namespace llmhost::cpu {

// Calls body(row) for every row, on several threads when there is enough work.
template <typename Body>
void for_rows(const RunContext& context, const Shape& shape, const Body& body) {
  const int64_t grain = shape.last() == 0 ? 1 : kGrain / shape.last() + 1;
  context.parallel_ranges(shape.rows(), grain, [&](int64_t begin, int64_t end, int32_t) {
    for (int64_t row = begin; row < end; ++row) body(row);
  });
}

// f(begin, count) over the elements of the first input, in pieces.
template <typename Body>
void for_elements(const RunContext& context, const Call& call, const Body& body) {
  context.parallel_ranges(context.shape(call.inputs[0]).count(), kGrain,
                          [&](int64_t begin, int64_t end, int32_t) { body(begin, end - begin); });
}

// Rows are summed in parts of fixed size, and then the parts.
constexpr int64_t kMostParts = 64;
constexpr int64_t kLeastPart = 32;  // rows

inline int64_t parts_of(int64_t rows) {
  return std::clamp<int64_t>(rows / kLeastPart, 1, kMostParts);
}

// Shared scratch of sum_rows.
inline uint64_t sum_rows_bytes(int64_t rows, int64_t n) {
  return static_cast<uint64_t>(parts_of(rows) * n) * sizeof(float);
}

// out[n] = the sum over all rows of what add(row, sums) adds to sums[n]. Not for windows.
template <typename Add>
void sum_rows(const RunContext& context, int64_t rows, int64_t n, float* out, const Add& add) {
  const int64_t parts = parts_of(rows);
  float* sums = parts == 1 ? out : reinterpret_cast<float*>(context.shared_scratch());
  const int64_t grain = rows * n == 0 ? 1 : kGrain * parts / (rows * n) + 1;
  context.parallel_ranges(parts, grain, [&](int64_t begin, int64_t end, int32_t) {
    for (int64_t part = begin; part < end; ++part) {
      float* own = sums + part * n;
      std::fill_n(own, n, 0.0F);
      for (int64_t row = rows * part / parts; row < rows * (part + 1) / parts; ++row) add(row, own);
    }
  });
  if (parts == 1) return;
  context.parallel_ranges(n, kGrain / parts, [&](int64_t begin, int64_t end, int32_t) {
    std::copy(sums + begin, sums + end, out + begin);
    for (int64_t part = 1; part < parts; ++part)
      context.kernels.elementwise.binary(BinaryOp::kAdd, out + begin, 1, sums + part * n + begin, 1,
                                         end - begin, out + begin);
  });
}

}  // namespace llmhost::cpu
