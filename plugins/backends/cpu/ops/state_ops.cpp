// STATE_WRITE, STATE_READ, and the two ops that describe who sees whom in the state.
#include <algorithm>
#include <limits>
#include <string>

#include "kernels/half.h"
#include "ops/state.h"

namespace llmhost::cpu {

void check_pages(const RunContext& context, const StateSlot& slot, int64_t sequence, int64_t begin,
                 int64_t end) {
  const int32_t* pages = context.step.page_table + sequence * context.step.page_table_stride;
  if (begin < 0 || (end + slot.page_tokens - 1) / slot.page_tokens > context.step.page_table_stride)
    throw llmh::Error(LLMH_OUT_OF_RANGE, "[cpu] positions " + std::to_string(begin) + " to " +
                                             std::to_string(end) +
                                             " of a sequence lie outside its page table");
  for (int64_t i = begin / slot.page_tokens; i * slot.page_tokens < end; ++i)
    if (pages[i] < 0 || pages[i] >= slot.n_pages)
      throw llmh::Error(LLMH_OUT_OF_RANGE, "[cpu] entry " + std::to_string(i) + " of a page table is " +
                                               std::to_string(pages[i]) + "; the state has " +
                                               std::to_string(slot.n_pages) + " pages");
}

namespace {

// The tokens [begin, end) of a step, of which those in one page are written together.
void write_tokens(const RunContext& context, const StateSlot& slot, const float* k, int64_t key_width,
                  const float* v, int64_t value_width, int64_t begin, int64_t end) {
  const llmh_step& step = context.step;
  const StateType type = state_type(slot.dtype);
  const int64_t size = state_element_bytes(type);
  const StatePart keys = key_part(slot, key_width);
  const StatePart values = value_part(slot, value_width);
  for (int64_t t = begin, count = 0; t < end; t += count) {
    const int32_t sequence = step.token_sequence[t];
    const int64_t entry = step.positions[t] / slot.page_tokens;
    const int64_t row = step.positions[t] % slot.page_tokens;
    count = std::min({end - t, step.sequence_begin[sequence + 1] - t, slot.page_tokens - row});
    uint8_t* page = slot.data + step.page_table[sequence * step.page_table_stride + entry] * slot.page_bytes;
    StateRows rows{k + t * key_width,
                   count,
                   key_width,
                   page + keys.data + row * size,
                   page + keys.scales + row * 2,
                   state_columns(slot.page_tokens)};
    context.kernels.state.write_keys[type](rows);
    rows.rows = v + t * value_width;
    rows.width = value_width;
    rows.data = page + values.data + row * value_width * size;
    rows.scales = page + values.scales + row * 2;
    context.kernels.state.write_values[type](rows);
  }
}

}  // namespace

void write_state(const RunContext& context, const StateSlot& slot, const float* k, int64_t key_width,
                 const float* v, int64_t value_width) {
  const llmh_step& step = context.step;
  for (int32_t s = 0; s < step.n_sequences; ++s) {
    const int32_t first = step.sequence_begin[s];
    const int64_t count = step.sequence_begin[s + 1] - first;
    if (count > 0) check_pages(context, slot, s, step.positions[first], step.positions[first] + count);
  }
  const int64_t grain = kGrain / (key_width + value_width + 1) + 1;
  context.parallel_ranges(step.n_tokens, grain, [&](int64_t begin, int64_t end, int32_t) {
    write_tokens(context, slot, k, key_width, v, value_width, begin, end);
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
  const auto attrs = llmh::node_attrs<llmh_state_attrs>(*view.node);
  return all_f32(view) && attrs.width > 0 && (attrs.part == LLMH_PART_KEYS || attrs.part == LLMH_PART_VALUES);
}

float load_element(StateType type, const uint8_t* data, int64_t at) {
  if (type == kStateF32) return load_as<float>(data + at * 4);
  if (type == kStateF16) return load_f16(data + at * 2);
  if (type == kStateBf16) return bf16_to_f32(load_as<uint16_t>(data + at * 2));
  return static_cast<float>(load_as<int8_t>(data + at));
}

// The row of one position, or zeros where its page was given back.
void read_row(const StateSlot& slot, bool is_keys, int32_t width, int32_t page, int64_t row, float* out) {
  if (page < 0) {
    std::memset(out, 0, static_cast<size_t>(width) * sizeof(float));
    return;
  }
  const StateType type = state_type(slot.dtype);
  const StatePart part = is_keys ? key_part(slot, width) : value_part(slot, width);
  const uint8_t* data = slot.data + page * slot.page_bytes;
  const int64_t columns = state_columns(slot.page_tokens);
  const int64_t step = is_keys ? columns : 1;
  const int64_t first = is_keys ? row : row * width;
  for (int32_t i = 0; i < width; ++i) {
    out[i] = load_element(type, data + part.data, first + i * step);
    if (type == kStateQ8) out[i] *= load_f16(data + part.scales + (i / kStateScaleBlock * columns + row) * 2);
  }
}

void run_state_read(const RunContext& context, const Call& call) {
  const auto attrs = llmh::node_attrs<llmh_state_attrs>(*call.node);
  const StateSlot& slot = *call.state;
  const llmh_step& step = context.step;
  float* out = context.out(call.outputs[0]);
  for (int32_t s = 0; s < step.n_sequences; ++s) {
    const int32_t* pages = step.page_table + int64_t{s} * step.page_table_stride;
    for (int64_t position = 0; position < step.state_lengths[s]; ++position, out += attrs.width) {
      const int64_t entry = position / slot.page_tokens;
      if (entry >= step.page_table_stride || pages[entry] >= 0)
        check_pages(context, slot, s, position, position + 1);
      read_row(slot, attrs.part == LLMH_PART_KEYS, attrs.width, pages[entry], position % slot.page_tokens,
               out);
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

bool supports_mask(const NodeView& view) {
  const auto attrs = llmh::node_attrs<llmh_mask_attrs>(*view.node);
  return all_f32(view) && is_valid_visibility(attrs) && (attrs.block_size == 0 || attrs.n_heads > 0);
}

bool is_in_seen_block(const llmh_mask_attrs& attrs, int64_t head, int64_t query, int64_t key) {
  const int64_t block = key / attrs.block_size;
  return query / attrs.block_size - block < attrs.local_blocks ||
         (block + head * attrs.head_step + 1) % attrs.vertical_stride == 0;
}

void run_mask(const RunContext& context, const Call& call) {
  const auto attrs = llmh::node_attrs<llmh_mask_attrs>(*call.node);
  const bool is_sparse = attrs.block_size != 0;
  const int64_t pairs = context.step.n_tokens * context.step.n_state;
  for (int64_t head = 0; head < (is_sparse ? attrs.n_heads : 1); ++head) {
    float* out = context.out(call.outputs[0]) + head * pairs;
    for_pairs(context, [&](int32_t t, int64_t column, int32_t key) {
      const int32_t query = context.step.positions[t];
      const bool visible = key >= first_visible(attrs, query) && (attrs.causal == 0 || key <= query) &&
                           (!is_sparse || is_in_seen_block(attrs, head, query, key));
      out[t * context.step.n_state + column] = visible ? 0.0F : -std::numeric_limits<float>::infinity();
    });
  }
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
    {LLMH_OP_ATTENTION_MASK, supports_mask, run_mask},
    {LLMH_OP_ATTENTION_DISTANCE, all_f32, run_distance},
};

}  // namespace

OpList state_ops() {
  return {kEntries, std::size(kEntries)};
}

}  // namespace llmhost::cpu
