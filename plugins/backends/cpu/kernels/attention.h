// Attention over paged keys and values, in pieces that do not depend on who computes them.
//
// The positions of a sequence are columns: page after page, each padded to whole groups of 16. A chunk is 256
// columns, at a fixed place. For one row (a query of one head) a chunk gives a partial softmax of its own,
// and chunks are merged in ascending order: so chunks may be computed anywhere and by anyone. Weights are
// powers of two: the query is scaled by log2(e) first.
#pragma once

#include <cstdint>

namespace llmhost::cpu {

enum {
  kAttentionRows = 48,    // most rows of one task
  kAttentionGroup = 16,   // columns that always lie in one page
  kAttentionTile = 64,    // columns whose keys or values are decoded together
  kAttentionChunk = 256,  // columns of one partial softmax
};

constexpr int64_t kStateScaleBlock = 32;  // elements of a row that share a scale, for q8

constexpr int64_t padded_lanes(int64_t n) {
  return (n + 15) / 16 * 16;
}

// Element types of the state.
enum StateType { kStateF32, kStateF16, kStateBf16, kStateQ8, kStateTypes };

// Where one key/value head's rows lie. Element i of the key at offset o of a page is element
// key_first + i of `keys` at i * key_stride + o; element i of its value is at o * value_stride + i of
// `values`. Rows of q8 have a scale (f16) for each 32 elements of the whole width: block b of the row at
// offset o has its scale at b * stride + o, where stride is key_stride or value_scale_stride.
struct AttentionState {
  const uint8_t* data;   // page 0
  const int32_t* pages;  // of the sequence
  int64_t page_bytes;
  int64_t page_tokens;
  int64_t key_offset;  // bytes from a page to this head's keys
  int64_t key_stride;  // elements
  int64_t key_scale_offset;
  int64_t key_first;     // elements of other heads before this one's
  int64_t value_offset;  // bytes from a page to this head's values
  int64_t value_stride;  // elements
  int64_t value_scale_offset;
  int64_t value_scale_stride;
  int64_t value_first;
};

// Up to kAttentionRows queries of one sequence that read the same key/value head.
struct AttentionTask {
  int32_t rows;
  const float* query[kAttentionRows];  // [k_dim]
  float* out[kAttentionRows];          // [v_dim]
  int64_t position[kAttentionRows];
  int64_t begin[kAttentionRows];  // the keys a row sees: [begin, end)
  int64_t end[kAttentionRows];
  float slope[kAttentionRows];         // ALiBi: slope * (key position - query position) is added to the score
  float sink[kAttentionRows];          // a further score without a value; read when has_sinks
  int64_t head_shift[kAttentionRows];  // sparse blocks: head * head_step
  bool has_sinks;
  bool has_slopes;
  float scale;
  float softcap;  // 0: none
  // Of the keys [begin, end), those in near blocks and in one of every vertical_stride; see op.h.
  int64_t block_size;  // 0: all of them
  int64_t local_blocks;
  int64_t vertical_stride;
  AttentionState state;
  int32_t k_dim;
  int32_t v_dim;
  float* scratch;  // attention_scratch_floats(k_dim, v_dim), aligned to 64 bytes
};

// For each row: the largest score, the sum of weights relative to it and the weighted sum of values. A row
// that saw nothing has a total of 0.
struct AttentionPartial {
  float* maximum;
  float* total;
  float* sums;  // [rows][padded_lanes(v_dim)]
};

constexpr int64_t attention_partial_floats(int64_t rows, int64_t v_dim) {
  return 2 * padded_lanes(rows) + rows * padded_lanes(v_dim);
}

inline AttentionPartial attention_partial(float* place, int64_t rows) {
  const int64_t padded = padded_lanes(rows);
  return {place, place + padded, place + 2 * padded};
}

// Queries, scores, one decoded tile, and room for two partial softmaxes that the caller may use.
constexpr int64_t attention_work_floats(int64_t k_dim, int64_t v_dim) {
  const int64_t widest = padded_lanes(k_dim > v_dim ? k_dim : v_dim);
  return kAttentionRows * (padded_lanes(k_dim) + kAttentionChunk) + kAttentionTile * widest;
}
constexpr int64_t attention_scratch_floats(int64_t k_dim, int64_t v_dim) {
  return attention_work_floats(k_dim, v_dim) + 2 * attention_partial_floats(kAttentionRows, v_dim) + 16;
}

// The chunk that a position lies in.
constexpr int64_t attention_chunk(int64_t position, int64_t page_tokens) {
  const int64_t column = position / page_tokens * padded_lanes(page_tokens) + position % page_tokens;
  return column / kAttentionChunk;
}

struct AttentionKernels {
  // Copies the scaled queries to scratch; before any chunk of the task.
  void (*prepare)(const AttentionTask& task) = nullptr;
  // One chunk alone, by the state's type. The caller goes on with chunk `next`; -1: with something else.
  void (*chunk[kStateTypes])(const AttentionTask& task, int64_t chunk, int64_t next,
                             const AttentionPartial& out) = {};
  // into = into and then a later chunk.
  void (*merge)(const AttentionTask& task, const AttentionPartial& later,
                const AttentionPartial& into) = nullptr;
  // Writes the rows of `out`: the sink counts here; a row that saw nothing gives zeros.
  void (*finish)(const AttentionTask& task, const AttentionPartial& partial) = nullptr;
};

// Rows of consecutive positions in one page, on their way into the state.
struct StateRows {
  const float* rows;  // [count][width]
  int64_t count;
  int64_t width;
  uint8_t* data;    // keys: [width][stride]; values: [][width]; already at the first of the positions
  uint8_t* scales;  // q8: [blocks of 32][stride] of f16, at the first of the positions
  int64_t stride;   // elements between rows of keys and rows of scales
};

struct StateKernels {
  void (*write_keys[kStateTypes])(const StateRows& rows) = {};
  void (*write_values[kStateTypes])(const StateRows& rows) = {};
};

}  // namespace llmhost::cpu
