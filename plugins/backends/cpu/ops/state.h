// Writing rows into the paged state; ATTENTION and STATE_WRITE share it.
#pragma once

#include "ops/op.h"

namespace llmhost::cpu {

// Stores k [T, key_width] and v [T, value_width] at their tokens' positions. Throws for a position without a
// page.
void write_state(const RunContext& context, const StateSlot& slot, const float* k, int64_t key_width,
                 const float* v, int64_t value_width);

// Throws unless each of the positions [begin, end) of a sequence lies in a page of the state.
void check_pages(const RunContext& context, const StateSlot& slot, int64_t sequence, int64_t begin,
                 int64_t end);

// The page that holds `position` of a sequence of this step.
uint8_t* state_page(const RunContext& context, const StateSlot& slot, int64_t sequence, int64_t position);

bool is_state_dtype(llmh_dtype dtype);

}  // namespace llmhost::cpu
