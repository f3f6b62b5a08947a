// Which groups of columns of a chunk some row of a task sees.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/attention.h"

namespace llmhost::cpu {

struct ChunkGroup {
  int64_t page_offset;  // bytes from page 0
  int64_t row;          // of the first column in its page
  int64_t first;        // its position
  int64_t count;        // positions up to the page's end or the last that any row sees
};

struct ChunkGroups {
  int count = 0;
  ChunkGroup group[kAttentionChunk / kAttentionGroup];
};

// Whether the row's head sees the block of keys that this position lies in.
inline bool sees_block(const AttentionTask& task, int row, int64_t key) {
  const int64_t block = key / task.block_size;
  return task.position[row] / task.block_size - block < task.local_blocks ||
         (block + task.head_shift[row] + 1) % task.vertical_stride == 0;
}

// Whether any row sees a block of the group.
inline bool is_group_seen(const AttentionTask& task, const ChunkGroup& group) {
  if (task.block_size == 0) return true;
  for (int64_t key = group.first; key < group.first + group.count;
       key = (key / task.block_size + 1) * task.block_size)
    for (int row = 0; row < task.rows; ++row)
      if (sees_block(task, row, key)) return true;
  return false;
}

// Positions ascending.
inline ChunkGroups groups_of(const AttentionTask& task, int64_t chunk) {
  const AttentionState& state = task.state;
  const int64_t begin = *std::min_element(task.begin, task.begin + task.rows);
  const int64_t end = *std::max_element(task.end, task.end + task.rows);
  const int64_t page_columns = padded_lanes(state.page_tokens);
  int64_t page = chunk * kAttentionChunk / page_columns;
  int64_t row = chunk * kAttentionChunk % page_columns;
  ChunkGroups groups;
  for (int i = 0; i < kAttentionChunk / kAttentionGroup; ++i, row += kAttentionGroup) {
    if (row == page_columns) {
      row = 0;
      ++page;
    }
    ChunkGroup group{};
    group.row = row;
    group.first = page * state.page_tokens + row;
    if (group.first >= end) break;
    group.count = std::min({int64_t{kAttentionGroup}, state.page_tokens - group.row, end - group.first});
    if (group.first + group.count <= begin || !is_group_seen(task, group)) continue;
    group.page_offset = state.pages[page] * state.page_bytes;
    groups.group[groups.count++] = group;
  }
  return groups;
}

}  // namespace llmhost::cpu
