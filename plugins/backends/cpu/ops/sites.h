// The rows of a step that belong to adapters, and what these do to them. Where the rows are few, for products
// of one input the first half of the low-rank change, u = x A^T, is made where rows are rounded; the second
// half follows the product itself, column by column, on the thread that made them: neither costs a meeting of
// the threads. Where there is enough of them, each thread takes some rows of one adapter through all products
// of the input after these: the adapter is read once, by one thread. A row's numbers are the same both ways.
#pragma once

#include <algorithm>
#include <span>

#include "adapter.h"
#include "ops/op.h"

namespace llmhost::cpu {

// An odd number of cache lines, so that rows of small ranks do not meet in the same places of a cache.
inline int64_t low_rank_stride(const llmh_limits& limits) {
  return ((int64_t{limits.max_adapter_rank} + 15) / 16 | 1) * 16;
}
// Of one product, in bytes.
inline uint64_t low_rank_bytes(int64_t rows, const llmh_limits& limits) {
  return static_cast<uint64_t>(rows) * static_cast<uint64_t>(low_rank_stride(limits)) * sizeof(float);
}

// The rows of a segment that the context shows: of all, numbered from the first of the step.
inline std::span<const int32_t> rows_of(const RunContext& context, const llmh_adapter_segment& segment,
                                        int32_t symbol) {
  const bool is_output = symbol == LLMH_DIM_OUTPUTS;
  const std::span<const int32_t> rows{
      is_output ? segment.output_rows : segment.token_rows,
      static_cast<size_t>(is_output ? segment.n_output_rows : segment.n_token_rows)};
  const Window& window = context.window();
  if (window.symbol != symbol) return rows;
  const auto begin = std::ranges::lower_bound(rows, window.begin);
  const auto end = std::lower_bound(begin, rows.end(), window.begin + window.count);
  return {begin, end};
}

// body(delta, rows) for each segment whose adapter changes the site and that has rows.
template <typename Body>
void for_each_change(const RunContext& context, int32_t site, int32_t symbol, const Body& body) {
  for (int32_t i = 0; i < context.step.n_adapter_segments; ++i) {
    const llmh_adapter_segment& segment = context.step.adapter_segments[i];
    const SiteDelta* delta = segment.adapter->find(site);
    if (delta == nullptr) continue;
    const auto rows = rows_of(context, segment, symbol);
    if (!rows.empty()) body(*delta, rows);
  }
}

inline bool has_changes(const RunContext& context, const Call& call) {
  return call.site.number != 0 && context.step.n_adapter_segments > 0;
}

// u = x A^T for the rows that the context shows, into the scratch of each product. [worker] in a window
void shrink(const RunContext& context, std::span<const Call* const> products);

// The rest of the change, for columns [begin, end) of one product, whose y holds that of the base; by rows,
// only products with an adapter's own weight. [worker]
void expand(const RunContext& context, const Call& call, int64_t begin, int64_t end);

bool changes_by_rows(const RunContext& context, int32_t symbol);

// By rows, after the products: all of their change.
void change_rows(const RunContext& context, std::span<const Call* const> products);

// Throws llmh::Error when an adapter does not fit a site of the calls, or a segment's rows the step. What was
// seen to fit is remembered in `checked`, by adapter; sized by the caller.
void check_segments(const llmh_step& step, const llmh_limits& limits, std::span<const Call> calls,
                    std::span<uint64_t> checked);

}  // namespace llmhost::cpu
