// Paged state in the evaluator's own layout, and what depends on who may see which position. A page holds
// keys [page_tokens, Wk] and then values [page_tokens, Wv], of f32.
#include <cstring>
#include <limits>

#include "graph/eval.h"

namespace llmhost::graph::eval {
namespace {

// Calls body(pair, same_sequence, query, key) for every pair of query and key, whose positions these are.
template <typename Body>
void for_each_pair(const llmh_step& step, Body&& body) {
  for (int64_t token = 0; token < step.n_tokens; ++token) {
    int64_t column = 0;
    for (int32_t sequence = 0; sequence < step.n_sequences; ++sequence)
      for (int32_t key = 0; key < step.state_lengths[sequence]; ++key, ++column)
        body(token * step.n_state + column, sequence == step.token_sequence[token],
             int64_t{step.positions[token]}, int64_t{key});
  }
}

}  // namespace

float* NodeCall::state_row(const State& state, int32_t sequence, int64_t position, int32_t part,
                           int64_t width) const {
  const llmh_step& step = evaluation_.step;
  const int64_t page_tokens = state.view->page_tokens;
  const int64_t entry = position / page_tokens;
  if (entry >= step.page_table_stride)
    fail(ErrorCode::kOutOfRange, fmt::format("position {} of sequence {} is beyond its {} pages", position,
                                             sequence, step.page_table_stride));
  const int64_t page = step.page_table[int64_t{sequence} * step.page_table_stride + entry];
  if (page < 0) return nullptr;
  const auto page_bytes = static_cast<int64_t>(state.view->page_bytes);
  const int64_t part_bytes = page_tokens * width * int64_t{sizeof(float)};
  const int64_t in_part = position % page_tokens * width * int64_t{sizeof(float)};
  // Keys come first and values end the page, so one width is enough to find either.
  const int64_t in_page = part == LLMH_PART_KEYS ? in_part : page_bytes - part_bytes + in_part;
  const int64_t offset = page * page_bytes + in_page;
  if (part_bytes > page_bytes ||
      static_cast<uint64_t>(offset) + static_cast<uint64_t>(width) * sizeof(float) > state.view->range.bytes)
    fail(ErrorCode::kOutOfRange,
         fmt::format("page {} lies outside the state of slot {}", page, state.view->slot));
  return reinterpret_cast<float*>(state.pages + offset);
}

void write_state(const NodeCall& call, int32_t slot, uint32_t first) {
  const NodeCall::State state = call.state(slot);
  const llmh_step& step = call.step();
  for (uint32_t i = first; i < first + 2; ++i) {
    const Floats rows(call.in(i));
    const int64_t width = call.in(i).sizes[1];
    const int32_t part = i == first ? LLMH_PART_KEYS : LLMH_PART_VALUES;
    for (int64_t token = 0; token < step.n_tokens; ++token) {
      float* row = call.state_row(state, step.token_sequence[token], step.positions[token], part, width);
      if (row == nullptr)
        call.fail(ErrorCode::kInternal, fmt::format("token {} has no page to be written to", token));
      std::memcpy(row, rows.data() + token * width, static_cast<size_t>(width) * sizeof(float));
    }
  }
}

void state_write(const NodeCall& call) {
  write_state(call, call.as<llmh_state_attrs>().slot, 0);
}

void state_read(const NodeCall& call) {
  const auto& attrs = call.as<llmh_state_attrs>();
  const NodeCall::State state = call.state(attrs.slot);
  const llmh_step& step = call.step();
  const size_t row_bytes = static_cast<size_t>(attrs.width) * sizeof(float);
  float* out = call.out_floats();
  for (int32_t sequence = 0; sequence < step.n_sequences; ++sequence)
    for (int32_t position = 0; position < step.state_lengths[sequence]; ++position, out += attrs.width) {
      const float* row = call.state_row(state, sequence, position, attrs.part, attrs.width);
      if (row != nullptr)
        std::memcpy(out, row, row_bytes);
      else
        std::memset(out, 0, row_bytes);
    }
}

void attention_mask(const NodeCall& call) {
  const auto& attrs = call.as<llmh_mask_attrs>();
  const int64_t heads = attrs.block_size == 0 ? 1 : attrs.n_heads;
  for (int64_t head = 0; head < heads; ++head) {
    float* out = call.out_floats() + head * call.step().n_tokens * call.step().n_state;
    for_each_pair(call.step(), [&](int64_t pair, bool same_sequence, int64_t query, int64_t key) {
      const bool seen = same_sequence && is_visible(attrs, query, key, head);
      out[pair] = seen ? 0.0F : -std::numeric_limits<float>::infinity();
    });
  }
}

void attention_distance(const NodeCall& call) {
  float* out = call.out_floats();
  for_each_pair(call.step(), [&](int64_t pair, bool same_sequence, int64_t query, int64_t key) {
    out[pair] = same_sequence ? static_cast<float>(key - query) : 0.0F;
  });
}

}  // namespace llmhost::graph::eval
