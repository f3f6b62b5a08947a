// A chunk of a task at work: scores of its rows from keys, sums from weights and values, either from the
// state as it is stored or from tiles that are decoded once for all rows.
#if defined(LLMHOST_CPU_ATTENTION_WORK_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LLMHOST_CPU_ATTENTION_WORK_INL_H_
#undef LLMHOST_CPU_ATTENTION_WORK_INL_H_
#else
#define LLMHOST_CPU_ATTENTION_WORK_INL_H_
#endif

#include <algorithm>

#include "hwy/cache_control.h"
#include "hwy/highway.h"
#include "kernels/attention_tile-inl.h"
#include "kernels/attention_visibility.h"

HWY_BEFORE_NAMESPACE();
namespace llmhost::cpu::HWY_NAMESPACE {
namespace {

constexpr int kTileGroups = kAttentionTile / kAttentionGroup;
constexpr int kGroupVectors = static_cast<int>(kAttentionGroup / hn::MaxLanes(F32()));

// One chunk of a task at work.
struct Work {
  const AttentionTask& task;
  const ChunkGroups& groups;
  const AttentionPartial& out;
  float* query;   // [rows][query_stride]
  float* scores;  // [rows][kAttentionChunk], columns of the groups that are seen
  float* tile;    // decoded keys [k_dim][kAttentionTile] or values [kAttentionTile][sums_stride]
  int64_t query_stride;
  int64_t sums_stride;
};

Work work_of(const AttentionTask& task, const ChunkGroups& groups, const AttentionPartial& out) {
  const int64_t query_stride = padded_lanes(task.k_dim);
  float* scores = task.scratch + kAttentionRows * query_stride;
  return {task,         groups,
          out,          task.scratch,
          scores,       scores + kAttentionRows * kAttentionChunk,
          query_stride, padded_lanes(task.v_dim)};
}

// Some rows that share loads, and the groups that one of them sees.
struct RowBlock {
  int row;
  int rows;
  int begin;  // groups
  int end;
};

template <typename T>
bool next_block(const Work& work, int most, RowBlock& block) {
  block.row += block.rows;
  block.rows = std::min(most, work.task.rows - block.row);
  if (block.rows <= 0) return false;
  int64_t begin = work.task.begin[block.row];
  int64_t end = work.task.end[block.row];
  for (int row = block.row + 1; row < block.row + block.rows; ++row) {
    begin = std::min(begin, work.task.begin[row]);
    end = std::max(end, work.task.end[row]);
  }
  block.begin = 0;
  block.end = work.groups.count;
  const ChunkGroup* group = work.groups.group;
  while (block.begin < block.end && group[block.begin].first + group[block.begin].count <= begin)
    ++block.begin;
  while (block.begin < block.end && group[block.end - 1].first >= end) --block.end;
  return true;
}

// --- Scores
// --------------------------------------------------------------------------------------------------------

template <typename T>
KeyColumns<T> columns_of(const AttentionState& state, const ChunkGroup& group, int64_t lane) {
  const uint8_t* page = state.data + group.page_offset;
  const int64_t at = group.row + lane;
  const T* keys = reinterpret_cast<const T*>(page + state.key_offset) + at;
  return {keys, keys,
          has_scales<T>() ? reinterpret_cast<const hwy::float16_t*>(page + state.key_scale_offset) + at
                          : nullptr};
}

template <typename T>
void decode_keys(const Work& work, int begin, int end) {
  const F32 d;
  const AttentionState& state = work.task.state;
  for (int g = begin; g < end; ++g) {
    for (int64_t lane = 0; lane < kAttentionGroup; lane += lane_count()) {
      const KeyColumns<T> columns = columns_of<T>(state, work.groups.group[g], lane);
      const ChunkGroup& next = work.groups.group[std::min(g + 2, work.groups.count - 1)];
      const T* ahead = columns_of<T>(state, next, lane).at;
      float* out = work.tile + (g - begin) * kAttentionGroup + lane;
      Floats scale = hn::Zero(d);
      for (int32_t i = 0; i < work.task.k_dim; ++i) {
        Floats key = load_state(d, columns.at + i * state.key_stride);
        hwy::Prefetch(ahead + i * state.key_stride);
        if constexpr (has_scales<T>()) {
          const int64_t element = state.key_first + i;
          if (i == 0 || element % kStateScaleBlock == 0)
            scale = load_state(d, columns.scales + element / kStateScaleBlock * state.key_stride);
          key = hn::Mul(key, scale);
        }
        hn::StoreU(key, d, out + i * kAttentionTile);
      }
    }
  }
}

template <typename T>
void score(const Work& work, const RowBlock& block, const KeyColumns<T>* columns, int64_t stride, int begin,
           int end) {
  const KeyBlock<T> keys = {.query = work.query + block.row * work.query_stride,
                            .query_stride = work.query_stride,
                            .stride = stride,
                            .first = work.task.state.key_first,
                            .k_dim = work.task.k_dim,
                            .scores = work.scores + block.row * kAttentionChunk + begin * kAttentionGroup};
  score_rows(block.rows, keys, columns, (end - begin) * kGroupVectors);
}

// Each block of rows reads the keys as they are stored, and asks for those of the next tile.
template <typename T>
void score_stored(const Work& work) {
  const AttentionState& state = work.task.state;
  KeyColumns<T> columns[kAttentionChunk / kAttentionGroup * kGroupVectors];
  const auto lanes = lane_count();
  for (int g = 0; g < work.groups.count; ++g) {
    const ChunkGroup& next = work.groups.group[std::min(g + kTileGroups, work.groups.count - 1)];
    for (int v = 0; v < kGroupVectors; ++v) {
      KeyColumns<T>& one = columns[g * kGroupVectors + v];
      one = columns_of<T>(state, work.groups.group[g], v * lanes);
      one.next = columns_of<T>(state, next, v * lanes).at;
    }
  }
  for (RowBlock block{}; next_block<T>(work, most_rows<T>(), block);)
    score(work, block, columns + block.begin * kGroupVectors, state.key_stride, block.begin, block.end);
}

// Keys are decoded once for all rows.
template <typename T>
void score_decoded(const Work& work) {
  KeyColumns<float> columns[kTileGroups * kGroupVectors];
  for (int v = 0; v < kTileGroups * kGroupVectors; ++v)
    columns[v] = {work.tile + v * lane_count(), work.tile + v * lane_count(), nullptr};
  for (int first = 0; first < work.groups.count; first += kTileGroups) {
    const int last = std::min(first + kTileGroups, work.groups.count);
    decode_keys<T>(work, first, last);
    for (RowBlock block{}; next_block<float>(work, kBlockRows, block);) {
      const int begin = std::max(first, block.begin);
      const int end = std::min(last, block.end);
      if (begin < end)
        score(work, block, columns + (begin - first) * kGroupVectors, kAttentionTile, begin, end);
    }
  }
}

// --- Values
// --------------------------------------------------------------------------------------------------------

template <typename T>
const T* values_of(const AttentionState& state, const ChunkGroup& group) {
  const uint8_t* page = state.data + group.page_offset;
  return reinterpret_cast<const T*>(page + state.value_offset) + group.row * state.value_stride;
}

const hwy::float16_t* value_scales_of(const AttentionState& state, const ChunkGroup& group) {
  const uint8_t* page = state.data + group.page_offset;
  return reinterpret_cast<const hwy::float16_t*>(page + state.value_scale_offset) + group.row;
}

template <typename T>
void add_stored(const Work& work) {
  const AttentionState& state = work.task.state;
  for (RowBlock block{}; next_block<T>(work, most_rows<T>(), block);) {
    for (int g = block.begin; g < block.end; ++g) {
      const ChunkGroup& group = work.groups.group[g];
      const ChunkGroup& next = work.groups.group[std::min(g + kTileGroups, work.groups.count - 1)];
      ValueBlock<T> values{};
      values.weights = work.scores + block.row * kAttentionChunk + g * kAttentionGroup;
      values.values = values_of<T>(state, group);
      values.next = values_of<T>(state, next);
      values.stride = state.value_stride;
      if constexpr (has_scales<T>()) {
        values.scales = value_scales_of(state, group);
        values.scale_stride = state.value_scale_stride;
      }
      values.first = state.value_first;
      values.keys = group.count;
      values.sums = work.out.sums + block.row * work.sums_stride;
      values.sums_stride = work.sums_stride;
      value_rows(block.rows, values, work.task.v_dim);
    }
  }
}

template <typename T>
void decode_row(const T* values, const T* ahead, int64_t columns, float* out) {
  const F32 d;
  for (int64_t i = 0; i < columns; i += lane_count()) {
    hn::StoreU(load_state(d, values + i), d, out + i);
    hwy::Prefetch(ahead + i);
  }
}

// A group's rows by their scales; where heads do not begin at whole vectors, the scale changes within one.
void scale_rows(const Work& work, const ChunkGroup& group, const hwy::float16_t* scales, float* out) {
  const F32 d;
  const AttentionState& state = work.task.state;
  const bool is_even = state.value_first % kAttentionGroup == 0;
  const int64_t step = is_even ? lane_count() : 1;
  float factors[kAttentionGroup];
  for (int64_t i = 0; i < work.task.v_dim; i += step) {
    load_scales(scales + (state.value_first + i) / kStateScaleBlock * state.value_scale_stride, factors);
    for (int64_t key = 0; key < group.count; ++key) {
      float* at = out + key * work.sums_stride + i;
      if (is_even)
        hn::StoreU(hn::Mul(hn::LoadU(d, at), hn::Set(d, factors[key])), d, at);
      else
        *at *= factors[key];
    }
  }
}

// Rows that no key fills are zero: their weights are 0, and what lies in a page there may be anything.
template <typename T>
void decode_values(const Work& work, int begin, int end) {
  const AttentionState& state = work.task.state;
  float* out = work.tile;
  for (int g = begin; g < end; ++g, out += kAttentionGroup * work.sums_stride) {
    const ChunkGroup& group = work.groups.group[g];
    const ChunkGroup& next = work.groups.group[std::min(g + 1, work.groups.count - 1)];
    const T* values = values_of<T>(state, group);
    const T* ahead = values_of<T>(state, next);
    for (int64_t key = 0; key < group.count; ++key)
      decode_row<T>(values + key * state.value_stride, ahead + key * state.value_stride, work.task.v_dim,
                    out + key * work.sums_stride);
    std::fill(out + group.count * work.sums_stride, out + kAttentionGroup * work.sums_stride, 0.0F);
    if constexpr (has_scales<T>()) scale_rows(work, group, value_scales_of(state, group), out);
  }
}

template <typename T>
void add_decoded(const Work& work) {
  for (int first = 0; first < work.groups.count; first += kTileGroups) {
    const int last = std::min(first + kTileGroups, work.groups.count);
    decode_values<T>(work, first, last);
    for (RowBlock block{}; next_block<float>(work, kBlockRows, block);) {
      const int begin = std::max(first, block.begin);
      const int end = std::min(last, block.end);
      if (begin >= end) continue;
      ValueBlock<float> values{};
      values.weights = work.scores + block.row * kAttentionChunk + begin * kAttentionGroup;
      values.values = work.tile + (begin - first) * kAttentionGroup * work.sums_stride;
      values.next = values.values;
      values.stride = work.sums_stride;
      values.keys = (end - begin) * kAttentionGroup;
      values.sums = work.out.sums + block.row * work.sums_stride;
      values.sums_stride = work.sums_stride;
      value_rows(block.rows, values, work.task.v_dim);
    }
  }
}

// The first keys of a chunk, before it is begun.
template <typename T>
void prefetch_keys(const AttentionTask& task, const ChunkGroups& groups) {
  for (int g = 0; g < std::min(groups.count, kTileGroups); ++g) {
    const T* keys = columns_of<T>(task.state, groups.group[g], 0).at;
    for (int32_t i = 0; i < task.k_dim; ++i) hwy::Prefetch(keys + i * task.state.key_stride);
  }
}

// The first values, while the weights are computed.
template <typename T>
void prefetch_values(const AttentionTask& task, const ChunkGroups& groups) {
  constexpr int64_t kLine = 64 / sizeof(T);
  for (int g = 0; g < std::min(groups.count, kTileGroups); ++g) {
    const T* values = values_of<T>(task.state, groups.group[g]);
    for (int64_t key = 0; key < groups.group[g].count; ++key, values += task.state.value_stride)
      for (int64_t i = 0; i < task.v_dim; i += kLine) hwy::Prefetch(values + i);
  }
}

}  // namespace
}  // namespace llmhost::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
