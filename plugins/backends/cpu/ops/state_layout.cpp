#include "ops/state_layout.h"

namespace llmhost::cpu {
namespace {

int64_t to_line(int64_t bytes) {
  return (bytes + 63) / 64 * 64;
}

int64_t scale_bytes(StateType type, int64_t width, int64_t page_tokens) {
  if (type != kStateQ8) return 0;
  return to_line((width + kStateScaleBlock - 1) / kStateScaleBlock * state_columns(page_tokens) * 2);
}

int64_t key_bytes(StateType type, int64_t width, int64_t page_tokens) {
  return to_line(width * state_columns(page_tokens) * state_element_bytes(type));
}

int64_t value_bytes(StateType type, int64_t width, int64_t page_tokens) {
  return to_line(width * page_tokens * state_element_bytes(type));
}

}  // namespace

bool is_state_dtype(llmh_dtype dtype) {
  return dtype == LLMH_DTYPE_F32 || dtype == LLMH_DTYPE_F16 || dtype == LLMH_DTYPE_BF16 ||
         dtype == LLMH_DTYPE_Q8_0;
}

StateType state_type(llmh_dtype dtype) {
  if (dtype == LLMH_DTYPE_F16) return kStateF16;
  if (dtype == LLMH_DTYPE_BF16) return kStateBf16;
  return dtype == LLMH_DTYPE_Q8_0 ? kStateQ8 : kStateF32;
}

int64_t state_element_bytes(StateType type) {
  if (type == kStateF32) return 4;
  return type == kStateQ8 ? 1 : 2;
}

int64_t state_columns(int64_t page_tokens) {
  return padded_lanes(page_tokens);
}

// A vector may be read past the end of the values: the keys follow.
uint64_t state_page_size(int64_t key_width, int64_t value_width, llmh_dtype dtype, int32_t page_tokens) {
  const StateType type = state_type(dtype);
  return static_cast<uint64_t>(
      value_bytes(type, value_width, page_tokens) + scale_bytes(type, value_width, page_tokens) +
      scale_bytes(type, key_width, page_tokens) + key_bytes(type, key_width, page_tokens));
}

StatePart key_part(const StateSlot& slot, int64_t width) {
  const StateType type = state_type(slot.dtype);
  const int64_t data = slot.page_bytes - key_bytes(type, width, slot.page_tokens);
  return {data, data - scale_bytes(type, width, slot.page_tokens)};
}

StatePart value_part(const StateSlot& slot, int64_t width) {
  return {0, value_bytes(state_type(slot.dtype), width, slot.page_tokens)};
}

}  // namespace llmhost::cpu
