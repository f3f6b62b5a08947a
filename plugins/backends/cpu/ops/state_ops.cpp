// STATE_WRITE, STATE_READ, and the two ops that describe who sees whom in the state.
#include <limits>
#include <string>

#include "kernels/half.h"
#include "ops/state.h"

namespace llmhost::cpu {

int64_t state_key_stride(int32_t page_tokens) {
  return padded_lanes(page_tokens);
}

uint64_t state_page_size(int64_t key_width, int64_t value_width, llmh_dtype dtype, int32_t page_tokens) {
  const int64_t elements = key_width * state_key_stride(page_tokens) + value_width * page_tokens;
  // Keys begin at a cache line, and a vector may be read past the end of the values.
  const int64_t bytes = elements * llmh_dtype_layout_of(dtype).block_bytes;
  return static_cast<uint64_t>((bytes + 63) / 64 * 64);
}

int64_t state_key_offset(const StateSlot& slot, int64_t key_width) {
  return slot.page_bytes -
         key_width * state_key_stride(slot.page_tokens) * llmh_dtype_layout_of(slot.dtype).block_bytes;
}

bool is_state_dtype(llmh_dtype dtype) {
  return dtype == LLMH_DTYPE_F32 || dtype == LLMH_DTYPE_F16 || dtype == LLMH_DTYPE_BF16;
}

uint8_t* state_page(const RunContext& context, const StateSlot& slot, int64_t sequence, int64_t position) {
  const int32_t* pages = context.step.page_table + sequence * context.step.page_table_stride;
  return slot.data + pages[position / slot.page_tokens] * slot.page_bytes;
}

namespace {

void store_element(llmh_dtype dtype, uint8_t* out, float value) {
  if (dtype == LLMH_DTYPE_F32) {
    std::memcpy(out, &value, sizeof value);
    return;
  }
  const uint16_t bits = dtype == LLMH_DTYPE_F16 ? f32_to_f16(value) : f32_to_bf16(value);
  std::memcpy(out, &bits, sizeof bits);
}

float load_element(llmh_dtype dtype, const uint8_t* in) {
  if (dtype == LLMH_DTYPE_F32) return load_as<float>(in);
  const auto bits = load_as<uint16_t>(in);
  return dtype == LLMH_DTYPE_F16 ? f16_to_f32(bits) : bf16_to_f32(bits);
}

void check_position(const RunContext& context, const StateSlot& slot, int64_t position) {
  const int64_t page = position / slot.page_tokens;
  if (position < 0 || page >= context.step.page_table_stride)
    throw llmh::Error(LLMH_OUT_OF_RANGE, "[cpu] position " + std::to_string(position) +
                                             " of a sequence lies outside its page table");
}

}  // namespace

void write_state(const RunContext& context, const StateSlot& slot, const float* k, int64_t key_width,
                 const float* v, int64_t value_width) {
  const llmh_step& step = context.step;
  for (int32_t t = 0; t < step.n_tokens; ++t) check_position(context, slot, step.positions[t]);
  const int64_t size = llmh_dtype_layout_of(slot.dtype).block_bytes;
  const int64_t key_offset = state_key_offset(slot, key_width);
  const int64_t key_stride = state_key_stride(slot.page_tokens) * size;
  const int64_t grain = kGrain / (key_width + value_width + 1) + 1;
  context.parallel_ranges(step.n_tokens, grain, [&](int64_t begin, int64_t end, int32_t) {
    for (int64_t t = begin; t < end; ++t) {
      const int64_t position = step.positions[t];
      uint8_t* page = state_page(context, slot, step.token_sequence[t], position);
      const int64_t row = position % slot.page_tokens;
      uint8_t* keys = page + key_offset + row * size;
      for (int64_t i = 0; i < key_width; ++i)
        store_element(slot.dtype, keys + i * key_stride, k[t * key_width + i]);
      uint8_t* values = page + row * value_width * size;
      for (int64_t i = 0; i < value_width; ++i)
        store_element(slot.dtype, values + i * size, v[t * value_width + i]);
    }
  });
}

namespace {

bool supports_state_write(const NodeView& view) {
  return view.node->n_inputs == 2 && all_f32(view) && view.input(0).rank == 2 && view.input(1).rank == 2;
}

void run_state_write(const RunContext& context, const Call& call) {
  write_state(context, *call.state, context.floats(call.inputs[0]), context.shape(call.inputs[0]).last(),
              context.floats(call.inputs[1]), context.shape(call.inputs[1]).last());
}

bool supports_state_read(const NodeView& view) {
  const auto attrs = attrs_of<llmh_state_attrs>(*view.node);
  return all_f32(view) && attrs.width > 0 &&
         (attrs.part == LLMH_STATE_KEYS || attrs.part == LLMH_STATE_VALUES);
}

void run_state_read(const RunContext& context, const Call& call) {
  const auto attrs = attrs_of<llmh_state_attrs>(*call.node);
  const StateSlot& slot = *call.state;
  const int64_t size = llmh_dtype_layout_of(slot.dtype).block_bytes;
  const bool is_keys = attrs.part == LLMH_STATE_KEYS;
  const int64_t offset = is_keys ? state_key_offset(slot, attrs.width) : 0;
  const int64_t element_step = is_keys ? state_key_stride(slot.page_tokens) * size : size;
  const int64_t row_step = is_keys ? size : attrs.width * size;
  float* out = context.out(call.outputs[0]);
  for (int32_t s = 0; s < context.step.n_sequences; ++s) {
    for (int64_t position = 0; position < context.step.state_lengths[s]; ++position) {
      check_position(context, slot, position);
      const uint8_t* row =
          state_page(context, slot, s, position) + offset + position % slot.page_tokens * row_step;
      for (int32_t i = 0; i < attrs.width; ++i) *out++ = load_element(slot.dtype, row + i * element_step);
    }
  }
}

// Calls body(token, key column, key position or -1 in another sequence) for all of [T, L].
template <typename Body>
void for_pairs(const RunContext& context, const Body& body) {
  const llmh_step& step = context.step;
  for (int32_t t = 0; t < step.n_tokens; ++t) {
    int64_t column = 0;
    for (int32_t s = 0; s < step.n_sequences; ++s)
      for (int32_t position = 0; position < step.state_lengths[s]; ++position, ++column)
        body(t, column, s == step.token_sequence[t] ? position : -1);
  }
}

void run_mask(const RunContext& context, const Call& call) {
  const auto attrs = attrs_of<llmh_mask_attrs>(*call.node);
  float* out = context.out(call.outputs[0]);
  for_pairs(context, [&](int32_t t, int64_t column, int32_t key) {
    const int32_t query = context.step.positions[t];
    const bool visible = key >= 0 && (attrs.causal == 0 || key <= query) &&
                         (attrs.window <= 0 || int64_t{key} > int64_t{query} - attrs.window);
    out[t * context.step.n_state + column] = visible ? 0.0F : -std::numeric_limits<float>::infinity();
  });
}

void run_distance(const RunContext& context, const Call& call) {
  float* out = context.out(call.outputs[0]);
  for_pairs(context, [&](int32_t t, int64_t column, int32_t key) {
    out[t * context.step.n_state + column] =
        key < 0 ? 0.0F : static_cast<float>(key - context.step.positions[t]);
  });
}

constexpr OpEntry kEntries[] = {
    {LLMH_OP_STATE_WRITE, supports_state_write, run_state_write},
    {LLMH_OP_STATE_READ, supports_state_read, run_state_read},
    {LLMH_OP_ATTENTION_MASK, all_f32, run_mask},
    {LLMH_OP_ATTENTION_DISTANCE, all_f32, run_distance},
};

}  // namespace

OpList state_ops() {
  return {kEntries, std::size(kEntries)};
}

}  // namespace llmhost::cpu
