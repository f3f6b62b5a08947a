#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/attention.cpp"
#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

#include "hwy/foreach_target.h"  // must come before highway.h
#include "hwy/highway.h"
#include "kernels/attention_math-inl.h"
#include "kernels/attention_tile-inl.h"
#include "kernels/attention_visibility.h"
#include "kernels/kernels.h"
#include "kernels/math-inl.h"

// For each row the order of operations follows from its own position and the chunks alone; rows share only
// loads. What another row's presence may add is a product of a weight of 0: it changes no sum but the sign of
// a zero, which finish() makes positive.
HWY_BEFORE_NAMESPACE();
namespace llmhost::cpu::HWY_NAMESPACE {
namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();
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

// Scores are kept as exponents of 2; a cap comes before that.
void prepare(const AttentionTask& task) {
  const float factor = task.softcap > 0 ? task.scale : task.scale * std::numbers::log2e_v<float>;
  const int64_t stride = padded_lanes(task.k_dim);
  for (int32_t row = 0; row < task.rows; ++row) {
    float* query = task.scratch + row * stride;
    for (int32_t i = 0; i < task.k_dim; ++i) query[i] = task.query[row][i] * factor;
  }
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

// --- Weights
// -------------------------------------------------------------------------------------------------------

// Hides the blocks of keys that the row's head does not see.
void hide_blocks(const AttentionTask& task, int row, const ChunkGroup& group, float* scores) {
  for (int64_t key = 0; key < group.count; ++key)
    if (!sees_block(task, row, group.first + key)) scores[key] = kMinusInfinity;
}

// Cap, slope and mask of one group.
void mask_group(const AttentionTask& task, int row, const ChunkGroup& group, float* scores) {
  const F32 d;
  const hn::Rebind<int32_t, F32> di;
  const auto relative = [&](int64_t position) {
    return hn::Set(di, static_cast<int32_t>(std::clamp<int64_t>(position - group.first, 0, group.count)));
  };
  const auto begin = relative(task.begin[row]);
  const auto end = relative(task.end[row]);
  for (int64_t key = 0; key < kAttentionGroup; key += lane_count()) {
    Floats s = hn::LoadU(d, scores + key);
    if (task.softcap > 0) {
      const Floats cap = hn::Set(d, task.softcap);
      s = hn::Mul(hn::Set(d, task.softcap * std::numbers::log2e_v<float>), tanh_of(d, hn::Div(s, cap)));
    }
    if (task.has_slopes) {
      const Floats distance = hn::Iota(d, static_cast<float>(group.first + key - task.position[row]));
      s = hn::MulAdd(hn::Set(d, task.slope[row] * std::numbers::log2e_v<float>), distance, s);
    }
    const auto index = hn::Iota(di, static_cast<int32_t>(key));
    const auto visible = hn::AndNot(hn::Lt(index, begin), hn::Lt(index, end));
    hn::StoreU(hn::IfThenElse(hn::RebindMask(d, visible), s, hn::Set(d, kMinusInfinity)), d, scores + key);
  }
  if (task.block_size != 0) hide_blocks(task, row, group, scores);
}

// Turns one row's scores into weights.
void weigh_row(const Work& work, int row, int first_group, int last_group) {
  const F32 d;
  const AttentionTask& task = work.task;
  const bool is_plain = task.softcap <= 0 && !task.has_slopes && task.block_size == 0;
  float* scores = work.scores + row * kAttentionChunk;
  const auto lanes = lane_count();
  for (int g = first_group; g < last_group; ++g) {
    const ChunkGroup& group = work.groups.group[g];
    if (!is_plain || group.first < task.begin[row] || group.first + kAttentionGroup > task.end[row] ||
        group.count < kAttentionGroup)
      mask_group(task, row, group, scores + g * kAttentionGroup);
  }
  const int64_t begin = first_group * kAttentionGroup;
  const int64_t end = last_group * kAttentionGroup;
  Floats highest = hn::Set(d, kMinusInfinity);
  for (int64_t column = begin; column < end; column += lanes)
    highest = hn::Max(highest, hn::LoadU(d, scores + column));
  const float maximum = hn::GetLane(hn::MaxOfLanes(d, highest));
  // Of a row that sees nothing every weight shall be 0, which -inf less -inf would not give.
  const Floats base = hn::Set(d, maximum == kMinusInfinity ? 0.0F : maximum);
  Floats sum = hn::Zero(d);
  for (int64_t column = begin; column < end; column += lanes) {
    const Floats weight = weight_of(d, hn::Sub(hn::LoadU(d, scores + column), base));
    hn::StoreU(weight, d, scores + column);
    sum = hn::Add(sum, weight);
  }
  work.out.maximum[row] = maximum;
  work.out.total[row] = hn::GetLane(hn::SumOfLanes(d, sum));
}

void weigh(const Work& work, int block_rows) {
  for (RowBlock block{}; next_block<float>(work, block_rows, block);)
    for (int row = block.row; row < block.row + block.rows; ++row)
      weigh_row(work, row, block.begin, block.end);
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

// --- Chunks
// --------------------------------------------------------------------------------------------------------

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

template <typename T>
void chunk(const AttentionTask& task, int64_t number, int64_t next, const AttentionPartial& out) {
  const ChunkGroups groups = groups_of(task, number);
  const Work work = work_of(task, groups, out);
  std::fill_n(out.sums, task.rows * work.sums_stride, 0.0F);
  const bool is_decoded = !std::is_same_v<T, float> && task.rows > kDirectRows;
  // A vector of values has one scale only where heads begin at whole vectors.
  const bool is_uneven = has_scales<T>() && task.state.value_first % kAttentionGroup != 0;
  prefetch_keys<T>(task, groups);
  is_decoded ? score_decoded<T>(work) : score_stored<T>(work);
  prefetch_values<T>(task, groups);
  weigh(work, is_decoded ? kBlockRows : most_rows<T>());
  if (next >= 0) prefetch_keys<T>(task, groups_of(task, next));
  is_decoded || is_uneven ? add_decoded<T>(work) : add_stored<T>(work);
}

void merge(const AttentionTask& task, const AttentionPartial& later, const AttentionPartial& into) {
  const F32 d;
  const int64_t stride = padded_lanes(task.v_dim);
  for (int32_t row = 0; row < task.rows; ++row) {
    if (later.total[row] == 0.0F) continue;
    const float maximum = std::max(into.maximum[row], later.maximum[row]);
    const float base = maximum == kMinusInfinity ? 0.0F : maximum;
    const float keep = weight_of(into.maximum[row] - base);
    const float take = weight_of(later.maximum[row] - base);
    into.maximum[row] = maximum;
    into.total[row] = into.total[row] * keep + later.total[row] * take;
    float* sums = into.sums + row * stride;
    const float* other = later.sums + row * stride;
    for (int64_t i = 0; i < stride; i += lane_count()) {
      const Floats taken = hn::Mul(hn::LoadU(d, other + i), hn::Set(d, take));
      hn::StoreU(hn::MulAdd(hn::LoadU(d, sums + i), hn::Set(d, keep), taken), d, sums + i);
    }
  }
}

void finish(const AttentionTask& task, const AttentionPartial& partial) {
  const int64_t stride = padded_lanes(task.v_dim);
  for (int32_t row = 0; row < task.rows; ++row) {
    float factor = 1.0F;
    float total = partial.total[row];
    if (task.has_sinks) {
      const float sink = task.sink[row] * std::numbers::log2e_v<float>;
      const float maximum = std::max(partial.maximum[row], sink);
      if (maximum != kMinusInfinity) {
        factor = weight_of(partial.maximum[row] - maximum);
        total = total * factor + weight_of(sink - maximum);
      }
    }
    const float* sums = partial.sums + row * stride;
    float* out = task.out[row];
    if (total == 0.0F) {
      std::fill_n(out, task.v_dim, 0.0F);
      continue;
    }
    const float share = factor / total;
    for (int32_t i = 0; i < task.v_dim; ++i) out[i] = sums[i] * share + 0.0F;
  }
}

AttentionKernels attention_table() {
  return {
      prepare, {chunk<float>, chunk<hwy::float16_t>, chunk<hwy::bfloat16_t>, chunk<int8_t>}, merge, finish};
}

}  // namespace
}  // namespace llmhost::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace llmhost::cpu {
HWY_EXPORT(attention_table);
AttentionKernels attention_kernels() {
  return HWY_DYNAMIC_DISPATCH(attention_table)();
}
}  // namespace llmhost::cpu
#endif
