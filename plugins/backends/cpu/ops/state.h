// What the ops over the paged state share: writing rows, and who sees what.
#pragma once

#include <algorithm>

#include "ops/state_layout.h"

namespace llmhost::cpu {

// Stores k [T, key_width] and v [T, value_width] at their tokens' positions. Throws for a position without a
// page.
void write_state(const RunContext& context, const StateSlot& slot, const float* k, int64_t key_width,
                 const float* v, int64_t value_width);

// Throws unless each of the positions [begin, end) of a sequence lies in a page of the state.
void check_pages(const RunContext& context, const StateSlot& slot, int64_t sequence, int64_t begin,
                 int64_t end);

// Of llmh_attention_attrs or llmh_mask_attrs.
template <typename Attrs>
bool is_valid_visibility(const Attrs& attrs) {
  if (attrs.window < 0 || attrs.chunk < 0 || attrs.block_size < 0) return false;
  return attrs.block_size == 0 || attrs.vertical_stride > 0;
}

// The first position that window and chunk let a query see.
template <typename Attrs>
int64_t first_visible(const Attrs& attrs, int64_t query) {
  int64_t first = 0;
  if (attrs.window > 0) first = std::max(first, query - attrs.window + 1);
  if (attrs.chunk > 0) first = std::max(first, query / attrs.chunk * attrs.chunk);
  return first;
}

}  // namespace llmhost::cpu
