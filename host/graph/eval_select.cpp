// The largest elements of a row, and elements by index.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "graph/eval.h"

namespace llmhost::graph::eval {
namespace {

// Indices of the k largest, descending; of equal ones the lower comes first, NaN is below every number.
std::vector<int32_t> largest_of(std::span<const float> row, int32_t k) {
  std::vector<int32_t> order(row.size());
  std::iota(order.begin(), order.end(), 0);
  const auto before = [row](int32_t left, int32_t right) {
    const float a = row[static_cast<size_t>(left)];
    const float b = row[static_cast<size_t>(right)];
    if (std::isnan(a) || std::isnan(b)) return !std::isnan(a) && std::isnan(b);
    return a > b;
  };
  std::stable_sort(order.begin(), order.end(), before);
  order.resize(static_cast<size_t>(k));
  return order;
}

// Calls body(row index, elements, indices of the k largest) for each row of x.
template <typename Body>
void for_each_row(const NodeCall& call, Body&& body) {
  const Floats x(call.in(0));
  const int64_t width = call.in(0).sizes.back();
  for (int64_t row = 0; row * width < call.in(0).count; ++row) {
    const std::span values(x.data() + row * width, static_cast<size_t>(width));
    body(row, values, largest_of(values, call.as<llmh_top_k_attrs>().k));
  }
}

}  // namespace

void top_k(const NodeCall& call) {
  float* values = call.out_floats(0);
  auto* ids = reinterpret_cast<int32_t*>(call.out(1).data);
  for_each_row(call, [&](int64_t, std::span<const float> row, const std::vector<int32_t>& largest) {
    for (const int32_t index : largest) {
      *values++ = row[static_cast<size_t>(index)];
      *ids++ = index;
    }
  });
}

void top_k_mask(const NodeCall& call) {
  std::fill_n(call.out_floats(), call.out().count, 0.0F);
  for_each_row(call, [&](int64_t row, std::span<const float> values, const std::vector<int32_t>& largest) {
    for (const int32_t index : largest)
      call.out_floats()[row * static_cast<int64_t>(values.size()) + index] = 1.0F;
  });
}

void take(const NodeCall& call) {
  const Operand& x = call.in(0);
  const auto* ids = reinterpret_cast<const int32_t*>(call.in(1).data);
  const size_t bytes = llmh_dtype_layout_of(x.dtype).block_bytes;
  const int64_t width = x.sizes.back();
  const int64_t taken = call.in(1).sizes.back();
  for (int64_t i = 0; i < call.in(1).count; ++i) {
    if (ids[i] < 0 || ids[i] >= width)
      call.fail(ErrorCode::kOutOfRange, fmt::format("id {} is outside the {} elements", ids[i], width));
    std::memcpy(call.out().data + static_cast<size_t>(i) * bytes,
                x.data + static_cast<size_t>(i / taken * width + ids[i]) * bytes, bytes);
  }
}

}  // namespace llmhost::graph::eval
