// TOP_K, TOP_K_MASK and TAKE: the largest elements of a row, and elements by index.
#include <algorithm>
#include <cmath>
#include <string>

#include "ops/op.h"

namespace llmhost::cpu {
namespace {

int32_t k_of(const llmh_node& node) {
  return llmh::node_attrs<llmh_top_k_attrs>(node).k;
}

bool supports_top_k(const NodeView& view) {
  if (view.node->n_inputs != 1 || view.input(0).rank < 1 || view.input(0).dtype != LLMH_DTYPE_F32)
    return false;
  const int32_t k = k_of(*view.node);
  return k >= 1 && k <= constant_size(view.input(0).dims[view.input(0).rank - 1]);
}

// NaN is below every number, as in op.h.
bool is_above(float a, float b) {
  return a > b || (std::isnan(b) && !std::isnan(a));
}

// The k largest of the row, descending, by insertion: a later element goes in only when it is above.
void take_largest(const float* row, int64_t n, int32_t k, float* values, int32_t* ids) {
  int32_t count = 0;
  for (int64_t i = 0; i < n; ++i) {
    if (count == k && !is_above(row[i], values[k - 1])) continue;
    int32_t at = count < k ? count++ : k - 1;
    for (; at > 0 && is_above(row[i], values[at - 1]); --at) {
      values[at] = values[at - 1];
      ids[at] = ids[at - 1];
    }
    values[at] = row[i];
    ids[at] = static_cast<int32_t>(i);
  }
}

void run_top_k(const RunContext& context, const Call& call) {
  const Shape x = context.shape(call.inputs[0]);
  const int64_t n = x.last();
  const int32_t k = k_of(*call.node);
  const float* rows = context.floats(call.inputs[0]);
  float* values = context.out(call.outputs[0]);
  auto* ids = reinterpret_cast<int32_t*>(context.data(call.outputs[1]));
  context.parallel_ranges(x.rows(), kGrain / (n + k) + 1, [&](int64_t begin, int64_t end, int32_t) {
    for (int64_t row = begin; row < end; ++row)
      take_largest(rows + row * n, n, k, values + row * k, ids + row * k);
  });
}

ScratchNeed mask_scratch(const NodeView& view, const llmh_limits&) {
  return {.per_thread = static_cast<uint64_t>(k_of(*view.node)) * (sizeof(float) + sizeof(int32_t))};
}

void run_top_k_mask(const RunContext& context, const Call& call) {
  const Shape x = context.shape(call.inputs[0]);
  const int64_t n = x.last();
  const int32_t k = k_of(*call.node);
  const float* rows = context.floats(call.inputs[0]);
  float* y = context.out(call.outputs[0]);
  context.parallel_ranges(x.rows(), kGrain / (n + k) + 1, [&](int64_t begin, int64_t end, int32_t thread) {
    float* values = context.thread_scratch(thread);
    auto* ids = reinterpret_cast<int32_t*>(values + k);
    for (int64_t row = begin; row < end; ++row) {
      take_largest(rows + row * n, n, k, values, ids);
      std::memset(y + row * n, 0, static_cast<size_t>(n) * sizeof(float));
      for (int32_t i = 0; i < k; ++i) y[row * n + ids[i]] = 1.0F;
    }
  });
}

bool supports_take(const NodeView& view) {
  if (view.node->n_inputs != 2 || view.input(1).dtype != LLMH_DTYPE_I32 || view.input(0).rank < 1)
    return false;
  const llmh_dtype dtype = view.input(0).dtype;
  return dtype == view.output(0).dtype && llmh_dtype_layout_of(dtype).block_elements == 1;
}

void check_ids(const Call& call, const int32_t* ids, int64_t count, int64_t n) {
  for (int64_t i = 0; i < count; ++i)
    if (ids[i] < 0 || ids[i] >= n)
      throw llmh::Error(LLMH_OUT_OF_RANGE, "[cpu] " + std::string(llmh::view(call.node->path)) + ": id " +
                                               std::to_string(ids[i]) + " at index " + std::to_string(i) +
                                               " is outside a row of " + std::to_string(n));
}

void run_take(const RunContext& context, const Call& call) {
  const int64_t n = context.shape(call.inputs[0]).last();
  const Shape taken = context.shape(call.inputs[1]);
  const int64_t m = taken.last();
  const int32_t* ids = context.ints(call.inputs[1]);
  check_ids(call, ids, taken.count(), n);
  const int64_t size = llmh_dtype_layout_of(call.inputs[0].dtype).block_bytes;
  const uint8_t* x = context.data(call.inputs[0]);
  uint8_t* y = context.data(call.outputs[0]);
  for (int64_t i = 0; i < taken.count(); ++i)
    std::memcpy(y + i * size, x + (i / m * n + ids[i]) * size, static_cast<size_t>(size));
}

bool supports_scatter_last(const NodeView& view) {
  return view.node->n_inputs == 2 && view.input(1).dtype == LLMH_DTYPE_I32 && view.input(0).rank >= 1 &&
         view.input(0).dtype == LLMH_DTYPE_F32 && view.output(0).dtype == LLMH_DTYPE_F32;
}

void run_scatter_last(const RunContext& context, const Call& call) {
  const Shape x = context.shape(call.inputs[0]);
  const int64_t n = context.shape(call.outputs[0]).last();
  const int64_t m = x.last();
  const int32_t* ids = context.ints(call.inputs[1]);
  check_ids(call, ids, x.count(), n);
  const float* from = context.floats(call.inputs[0]);
  float* y = context.out(call.outputs[0]);
  context.parallel_ranges(x.rows(), kGrain / (n + m) + 1, [&](int64_t begin, int64_t end, int32_t) {
    std::fill(y + begin * n, y + end * n, 0.0F);
    for (int64_t row = begin; row < end; ++row)
      for (int64_t i = row * m; i < (row + 1) * m; ++i) y[row * n + ids[i]] += from[i];
  });
}

constexpr OpEntry kEntries[] = {
    {LLMH_OP_TOP_K, supports_top_k, run_top_k},
    {LLMH_OP_TOP_K_MASK, supports_top_k, run_top_k_mask, mask_scratch},
    {LLMH_OP_TAKE, supports_take, run_take},
    {LLMH_OP_SCATTER_LAST, supports_scatter_last, run_scatter_last},
};

}  // namespace

OpList select_ops() {
  return {kEntries, std::size(kEntries)};
}

}  // namespace llmhost::cpu
