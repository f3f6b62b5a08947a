#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/attention.cpp"
#include <algorithm>
#include <cmath>
#include <limits>

#include "hwy/foreach_target.h"  // must come before highway.h
#include "hwy/highway.h"
#include "kernels/half.h"
#include "kernels/kernels.h"
#include "kernels/math-inl.h"

// Online softmax (Milakov, Gimelshein 2018) over tiles of at most 64 keys that begin at fixed positions. For
// each row the order of operations follows from its own position and the tiles alone; rows share only the
// loads. A tile in which a row sees no key leaves the row as it is.
HWY_BEFORE_NAMESPACE();
namespace llmhost::cpu::HWY_NAMESPACE {
namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

HWY_INLINE Floats load_state(F32 d, const float* p) {
  return hn::LoadU(d, p);
}

HWY_INLINE Floats load_state(F32 d, const hwy::bfloat16_t* p) {
  const hn::Rebind<uint32_t, F32> du32;
  const hn::Rebind<uint16_t, F32> du16;
  const auto bits = hn::LoadU(du16, reinterpret_cast<const uint16_t*>(p));
  return hn::BitCast(d, hn::ShiftLeft<16>(hn::PromoteTo(du32, bits)));
}

HWY_INLINE Floats load_state(F32 d, const hwy::float16_t* p) {
#if HWY_TARGET <= HWY_AVX2
  const hn::Rebind<hwy::float16_t, F32> df16;
  return hn::PromoteTo(d, hn::LoadU(df16, p));
#else
  HWY_ALIGN float values[hn::MaxLanes(F32())];
  for (size_t i = 0; i < hn::Lanes(d); ++i) values[i] = load_f16(reinterpret_cast<const uint8_t*>(p + i));
  return hn::Load(d, values);
#endif
}

// Where the pieces of a tile lie, and the rows' running values.
template <typename T>
struct Tile {
  const T* keys;    // [k_dim][key_stride], already at the tile's first key
  const T* values;  // [keys][value_stride]
  int64_t first;    // position of the first key
  int64_t count;    // keys the page holds in this tile
  int64_t begin;    // keys that some row sees, relative to `first`
  int64_t end;
};

struct State {
  float* scores;  // [kAttentionRows][kAttentionTile]
  float* sums;    // [kAttentionRows][padded v_dim]
  int64_t sums_stride;
  float maximum[kAttentionRows];
  float total[kAttentionRows];
  float correction[kAttentionRows];
};

// scores[row, key] for kRows rows and kVectors vectors of keys; for each the sum runs over k_dim ascending.
template <int kRows, int kVectors, typename T>
HWY_INLINE void score_block(const AttentionTask& task, const Tile<T>& tile, int row, int64_t key,
                            float* scores) {
  const F32 d;
  const auto lanes = lane_count();
  Floats sum[kRows][kVectors];
  for (int r = 0; r < kRows; ++r)
    for (int v = 0; v < kVectors; ++v) sum[r][v] = hn::Zero(d);
  const T* keys = tile.keys + key;
  for (int32_t i = 0; i < task.k_dim; ++i, keys += task.key_stride) {
    Floats k[kVectors];
    for (int v = 0; v < kVectors; ++v) k[v] = load_state(d, keys + v * lanes);
    for (int r = 0; r < kRows; ++r) {
      const Floats q = hn::Set(d, task.query[row + r][i]);
      for (int v = 0; v < kVectors; ++v) sum[r][v] = hn::MulAdd(q, k[v], sum[r][v]);
    }
  }
  for (int r = 0; r < kRows; ++r)
    for (int v = 0; v < kVectors; ++v)
      hn::StoreU(sum[r][v], d, scores + (row + r) * kAttentionTile + key + v * lanes);
}

template <int kRows, typename T>
void score_rows(const AttentionTask& task, const Tile<T>& tile, int row, float* scores) {
  const int64_t lanes = lane_count();
  int64_t key = 0;
  for (; key + lanes < tile.count; key += 2 * lanes) score_block<kRows, 2>(task, tile, row, key, scores);
  if (key < tile.count) score_block<kRows, 1>(task, tile, row, key, scores);
}

// Whether the row's head sees the block of keys that this position lies in.
bool sees_block(const AttentionTask& task, int row, int64_t key) {
  const int64_t block = key / task.block_size;
  return task.position[row] / task.block_size - block < task.local_blocks ||
         (block + task.head_shift[row] + 1) % task.vertical_stride == 0;
}

// Hides the blocks that the row's head does not see; the largest of the scores that are left and `highest`.
float hide_blocks(const AttentionTask& task, int row, int64_t first, int64_t count, float highest,
                  float* scores) {
  for (int64_t key = 0; key < count;) {
    const int64_t next = (first + key) / task.block_size * task.block_size + task.block_size - first;
    const int64_t end = std::min(next, count);
    const bool is_seen = sees_block(task, row, first + key);
    for (; key < end; ++key) {
      if (!is_seen) scores[key] = kMinusInfinity;
      highest = std::max(highest, scores[key]);
    }
  }
  return highest;
}

// Whether any row sees a block of the tile.
template <typename T>
bool is_tile_seen(const AttentionTask& task, const Tile<T>& tile) {
  if (task.block_size == 0) return true;
  for (int64_t key = tile.first + tile.begin; key < tile.first + tile.end;
       key = (key / task.block_size + 1) * task.block_size)
    for (int row = 0; row < task.rows; ++row)
      if (sees_block(task, row, key)) return true;
  return false;
}

// Turns one row's scores into weights: scale, cap, slope, mask, exp; updates maximum and total.
void weigh_row(const AttentionTask& task, int row, int64_t first, int64_t count, State& state) {
  const F32 d;
  const hn::Rebind<int32_t, F32> di;
  const auto lanes = lane_count();
  float* scores = state.scores + row * kAttentionTile;
  const Floats lowest = hn::Set(d, kMinusInfinity);
  const auto begin =
      hn::Set(di, static_cast<int32_t>(std::clamp<int64_t>(task.begin[row] - first, 0, count)));
  const auto end = hn::Set(di, static_cast<int32_t>(std::clamp<int64_t>(task.end[row] - first, 0, count)));
  Floats highest = hn::Set(d, state.maximum[row]);
  for (int64_t key = 0; key < count; key += lanes) {
    Floats s = hn::Mul(hn::LoadU(d, scores + key), hn::Set(d, task.scale));
    if (task.softcap > 0) {
      const Floats cap = hn::Set(d, task.softcap);
      s = hn::Mul(cap, tanh_of(d, hn::Div(s, cap)));
    }
    if (task.has_slopes) {
      const Floats distance = hn::Iota(d, static_cast<float>(first + key - task.position[row]));
      s = hn::Add(s, hn::Mul(hn::Set(d, task.slope[row]), distance));
    }
    const auto index = hn::Iota(di, static_cast<int32_t>(key));
    const auto visible = hn::AndNot(hn::Lt(index, begin), hn::Lt(index, end));
    s = hn::IfThenElse(hn::RebindMask(d, visible), s, lowest);
    hn::StoreU(s, d, scores + key);
    highest = hn::Max(highest, s);
  }
  const float maximum = task.block_size == 0
                            ? hn::GetLane(hn::MaxOfLanes(d, highest))
                            : hide_blocks(task, row, first, count, state.maximum[row], scores);
  Floats sum = hn::Zero(d);
  for (int64_t key = 0; key < count; key += lanes) {
    const Floats s = hn::LoadU(d, scores + key);
    Floats weight = exp_of(d, hn::Sub(s, hn::Set(d, maximum)));
    weight = hn::IfThenElse(hn::Eq(s, lowest), hn::Zero(d), weight);  // also where maximum is -inf
    hn::StoreU(weight, d, scores + key);
    sum = hn::Add(sum, weight);
  }
  const float before = state.maximum[row];
  HWY_ALIGN float factor[hn::MaxLanes(F32())];
  hn::Store(exp_of(d, hn::Set(d, before - maximum)), d, factor);
  state.correction[row] = before == maximum ? 1.0F : factor[0];
  state.maximum[row] = maximum;
  state.total[row] = state.total[row] * state.correction[row] + hn::GetLane(hn::SumOfLanes(d, sum));
}

// sums = sums * correction + weights * values, keys ascending, for kRows rows and kVectors vectors of v_dim.
template <int kRows, int kVectors, typename T>
HWY_INLINE void add_values(const AttentionTask& task, const Tile<T>& tile, int row, int64_t column,
                           State& state) {
  const F32 d;
  const auto lanes = lane_count();
  Floats sum[kRows][kVectors];
  for (int r = 0; r < kRows; ++r)
    for (int v = 0; v < kVectors; ++v)
      sum[r][v] = hn::Mul(hn::LoadU(d, state.sums + (row + r) * state.sums_stride + column + v * lanes),
                          hn::Set(d, state.correction[row + r]));
  const float* weights = state.scores + row * kAttentionTile;
  for (int64_t key = tile.begin; key < tile.end; ++key) {
    const T* values = tile.values + key * task.value_stride + column;
    Floats value[kVectors];
    for (int v = 0; v < kVectors; ++v) value[v] = load_state(d, values + v * lanes);
    for (int r = 0; r < kRows; ++r) {
      const Floats weight = hn::Set(d, weights[r * kAttentionTile + key]);
      for (int v = 0; v < kVectors; ++v) sum[r][v] = hn::MulAdd(weight, value[v], sum[r][v]);
    }
  }
  for (int r = 0; r < kRows; ++r)
    for (int v = 0; v < kVectors; ++v)
      hn::StoreU(sum[r][v], d, state.sums + (row + r) * state.sums_stride + column + v * lanes);
}

template <int kRows, typename T>
void add_value_rows(const AttentionTask& task, const Tile<T>& tile, int row, State& state) {
  const int64_t lanes = lane_count();
  int64_t column = 0;
  for (; column + lanes < task.v_dim; column += 2 * lanes)
    add_values<kRows, 2>(task, tile, row, column, state);
  if (column < task.v_dim) add_values<kRows, 1>(task, tile, row, column, state);
}

template <typename T>
void visit_tile(const AttentionTask& task, const Tile<T>& tile, State& state) {
  int row = 0;
  for (; row + 4 <= task.rows; row += 4) score_rows<4>(task, tile, row, state.scores);
  for (; row < task.rows; ++row) score_rows<1>(task, tile, row, state.scores);
  for (row = 0; row < task.rows; ++row) weigh_row(task, row, tile.first, tile.count, state);
  for (row = 0; row + 4 <= task.rows; row += 4) add_value_rows<4>(task, tile, row, state);
  for (; row < task.rows; ++row) add_value_rows<1>(task, tile, row, state);
}

// Divides by the softmax's denominator, the sink included; a row that saw nothing gives zeros.
void finish_row(const AttentionTask& task, int row, const State& state) {
  float factor = 1.0F;
  float total = state.total[row];
  if (task.has_sinks) {
    const float maximum = std::max(state.maximum[row], task.sink[row]);
    if (maximum != kMinusInfinity) {
      factor = std::exp(state.maximum[row] - maximum);
      total = total * factor + std::exp(task.sink[row] - maximum);
    }
  }
  const float* sums = state.sums + row * state.sums_stride;
  for (int32_t i = 0; i < task.v_dim; ++i) task.out[row][i] = total == 0.0F ? 0.0F : sums[i] * factor / total;
}

template <typename T>
void attend(const AttentionTask& task) {
  State state;
  state.scores = task.scratch;
  state.sums = task.scratch + kAttentionRows * kAttentionTile;
  state.sums_stride = padded_lanes(task.v_dim);
  std::fill_n(state.sums, task.rows * state.sums_stride, 0.0F);
  int64_t begin = task.begin[0];
  int64_t end = task.end[0];
  for (int row = 0; row < task.rows; ++row) {
    state.maximum[row] = kMinusInfinity;
    state.total[row] = 0.0F;
    begin = std::min(begin, task.begin[row]);
    end = std::max(end, task.end[row]);
  }
  for (int64_t page = begin / task.page_tokens; page * task.page_tokens < end; ++page) {
    const uint8_t* data = task.state + task.pages[page] * task.page_bytes;
    for (int64_t offset = 0; offset < task.page_tokens; offset += kAttentionTile) {
      Tile<T> tile;
      tile.first = page * task.page_tokens + offset;
      tile.count = std::min<int64_t>(kAttentionTile, task.page_tokens - offset);
      tile.begin = std::max<int64_t>(begin - tile.first, 0);
      tile.end = std::min(end - tile.first, tile.count);
      if (tile.begin >= tile.end || !is_tile_seen(task, tile)) continue;
      tile.keys = reinterpret_cast<const T*>(data + task.key_offset) + offset;
      tile.values = reinterpret_cast<const T*>(data + task.value_offset) + offset * task.value_stride;
      visit_tile(task, tile, state);
    }
  }
  for (int row = 0; row < task.rows; ++row) finish_row(task, row, state);
}

AttentionKernels attention_table() {
  return {attend<float>, attend<hwy::float16_t>, attend<hwy::bfloat16_t>};
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
