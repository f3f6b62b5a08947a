// How keys and values lie in a page.
//
// Values come first, [page_tokens][width]; then, for q8, their scales; the page ends with the keys' scales
// and the keys, [width][page_tokens rounded up to 16]: a row of keys is one element of many positions, so
// that scores need no horizontal sums. Scales are f16, [blocks of 32 elements][page_tokens rounded up to 16].
// Either part is found from its own width alone.
#pragma once

#include <cstdint>

#include "ops/op.h"

namespace llmhost::cpu {

// Bytes from the beginning of a page.
struct StatePart {
  int64_t data;
  int64_t scales;
};

bool is_state_dtype(llmh_dtype dtype);
StateType state_type(llmh_dtype dtype);  // of a dtype for which is_state_dtype holds
int64_t state_element_bytes(StateType type);
int64_t state_columns(int64_t page_tokens);  // elements between rows of keys, and between rows of scales

StatePart key_part(const StateSlot& slot, int64_t width);
StatePart value_part(const StateSlot& slot, int64_t width);

}  // namespace llmhost::cpu
