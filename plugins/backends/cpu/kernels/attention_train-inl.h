// What attention over whole sequences and its gradient share: small products, packed tiles, scores.
#if defined(LLMHOST_CPU_ATTENTION_TRAIN_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LLMHOST_CPU_ATTENTION_TRAIN_INL_H_
#undef LLMHOST_CPU_ATTENTION_TRAIN_INL_H_
#else
#define LLMHOST_CPU_ATTENTION_TRAIN_INL_H_
#endif

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

#include "hwy/highway.h"
#include "kernels/attention_math-inl.h"
#include "kernels/attention_tile-inl.h"
#include "kernels/attention_train.h"
#include "kernels/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace llmhost::cpu::HWY_NAMESPACE {

constexpr float kNothing = -std::numeric_limits<float>::infinity();

// --- Products of a few rows

// c[m, n] = sum over i, ascending, of a[m * a_row + i * a_step] b[i * b_stride + n], or that added to c.
struct Factors {
  const float* a;
  int64_t a_row;
  int64_t a_step;
  const float* b;
  int64_t b_stride;
  int64_t depth;
  float* c;
  int64_t c_stride;
};

template <int kRows, int kVectors, bool kAdds>
HWY_INLINE void multiply_block(const Factors& f) {
  const F32 d;
  const auto lanes = lane_count();
  Floats sum[kRows][kVectors];
  for (int r = 0; r < kRows; ++r)
    for (int v = 0; v < kVectors; ++v)
      sum[r][v] = kAdds ? hn::LoadU(d, f.c + r * f.c_stride + v * lanes) : hn::Zero(d);
  const float* a = f.a;
  const float* b = f.b;
  for (int64_t i = 0; i < f.depth; ++i, a += f.a_step, b += f.b_stride) {
    Floats column[kVectors];
    for (int v = 0; v < kVectors; ++v) column[v] = hn::LoadU(d, b + v * lanes);
    for (int r = 0; r < kRows; ++r) {
      const Floats factor = hn::Set(d, a[r * f.a_row]);
      for (int v = 0; v < kVectors; ++v) sum[r][v] = hn::MulAdd(factor, column[v], sum[r][v]);
    }
  }
  for (int r = 0; r < kRows; ++r)
    for (int v = 0; v < kVectors; ++v) hn::StoreU(sum[r][v], d, f.c + r * f.c_stride + v * lanes);
}

// Up to kBlockRows rows, `columns` (whole vectors).
template <bool kAdds>
void multiply_rows(int rows, Factors f, int64_t columns) {
  const auto lanes = lane_count();
  with_rows<kBlockRows>(rows, [&]<int kRows>() {
    int64_t n = 0;
    for (; n + kBlockVectors * lanes <= columns; n += kBlockVectors * lanes) {
      multiply_block<kRows, kBlockVectors, kAdds>(f);
      f.b += kBlockVectors * lanes;
      f.c += kBlockVectors * lanes;
    }
    if constexpr (kBlockVectors > 2) {
      if (n + 2 * lanes <= columns) {
        multiply_block<kRows, 2, kAdds>(f);
        f.b += 2 * lanes;
        f.c += 2 * lanes;
        n += 2 * lanes;
      }
    }
    for (; n < columns; n += lanes) {
      multiply_block<kRows, 1, kAdds>(f);
      f.b += lanes;
      f.c += lanes;
    }
  });
}

// --- Packed operands

// One head's element at the sequence's first token, and the floats from one token to the next.
struct HeadRows {
  const float* at;
  int64_t stride;
};

// out[i][width] = rows of `dim` elements times `factor`; what is past them is 0.
inline void pack_row(const float* row, int64_t dim, float factor, int64_t width, float* out) {
  for (int64_t i = 0; i < dim; ++i) out[i] = row[i] * factor;
  for (int64_t i = dim; i < width; ++i) out[i] = 0.0F;
}

inline void pack_tile(const HeadRows& rows, int64_t count, int64_t dim, float* out) {
  const int64_t width = padded_lanes(dim);
  for (int64_t key = 0; key < count; ++key)
    pack_row(rows.at + key * rows.stride, dim, 1.0F, width, out + key * width);
  std::fill(out + count * width, out + kTrainKeys * width, 0.0F);
}

#if HWY_TARGET != HWY_SCALAR
// Four elements of four rows become four rows of four columns.
HWY_INLINE void transpose_four(const HeadRows& rows, float* out) {
  const hn::FixedTag<float, 4> d;
  const hn::FixedTag<double, 2> pairs;
  const auto a = hn::LoadU(d, rows.at);
  const auto b = hn::LoadU(d, rows.at + rows.stride);
  const auto c = hn::LoadU(d, rows.at + 2 * rows.stride);
  const auto e = hn::LoadU(d, rows.at + 3 * rows.stride);
  const auto low_ab = hn::BitCast(pairs, hn::InterleaveLower(d, a, b));
  const auto low_ce = hn::BitCast(pairs, hn::InterleaveLower(d, c, e));
  const auto high_ab = hn::BitCast(pairs, hn::InterleaveUpper(d, a, b));
  const auto high_ce = hn::BitCast(pairs, hn::InterleaveUpper(d, c, e));
  hn::StoreU(hn::BitCast(d, hn::InterleaveLower(pairs, low_ab, low_ce)), d, out);
  hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(pairs, low_ab, low_ce)), d, out + kTrainKeys);
  hn::StoreU(hn::BitCast(d, hn::InterleaveLower(pairs, high_ab, high_ce)), d, out + 2 * kTrainKeys);
  hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(pairs, high_ab, high_ce)), d, out + 3 * kTrainKeys);
}
#endif

// out[dim][kTrainKeys]; columns past `count` are 0.
inline void pack_transposed(const HeadRows& rows, int64_t count, int64_t dim, float* out) {
  int64_t key = 0;
#if HWY_TARGET != HWY_SCALAR
  for (; key + 4 <= count; key += 4) {
    const float* at = rows.at + key * rows.stride;
    int64_t i = 0;
    for (; i + 4 <= dim; i += 4) transpose_four({at + i, rows.stride}, out + i * kTrainKeys + key);
    for (; i < dim; ++i)
      for (int64_t r = 0; r < 4; ++r) out[i * kTrainKeys + key + r] = at[r * rows.stride + i];
  }
#endif
  for (; key < count; ++key)
    for (int64_t i = 0; i < dim; ++i) out[i * kTrainKeys + key] = rows.at[key * rows.stride + i];
  for (; key < kTrainKeys; ++key)
    for (int64_t i = 0; i < dim; ++i) out[i * kTrainKeys + key] = 0.0F;
}

// --- Rows and what they see

inline int64_t group_of(const TrainTask& task) {
  return task.attrs.n_heads / task.attrs.n_kv_heads;
}

inline HeadRows keys_of(const TrainTask& task, int64_t first) {
  const int64_t stride = int64_t{task.attrs.n_kv_heads} * task.attrs.k_head_dim;
  return {task.k + first * stride + task.kv_head * task.attrs.k_head_dim, stride};
}

inline HeadRows values_of(const TrainTask& task, int64_t first) {
  const int64_t stride = int64_t{task.attrs.n_kv_heads} * task.attrs.v_head_dim;
  return {task.v + first * stride + task.kv_head * task.attrs.v_head_dim, stride};
}

// Index of a row in arrays [T, H].
inline int64_t head_index(const TrainTask& task, int64_t row) {
  const int64_t group = group_of(task);
  return row / group * task.attrs.n_heads + task.kv_head * group + row % group;
}

inline int64_t head_of(const TrainTask& task, int64_t row) {
  return task.kv_head * group_of(task) + row % group_of(task);
}

// The keys that causality, window and chunk let a row see, as tokens of the sequence. Both ends ascend with
// the row. A window beyond the sequence's own first token shows nothing before it.
inline KeyRange range_of(const TrainTask& task, int64_t row) {
  const int64_t token = row / group_of(task);
  const int64_t position = task.position + token;
  int64_t first = 0;
  if (task.attrs.window > 0) first = std::max(first, position - task.attrs.window + 1);
  if (task.attrs.chunk > 0) first = std::max(first, position / task.attrs.chunk * task.attrs.chunk);
  const int64_t begin = std::max<int64_t>(0, first - task.position);
  return {begin, task.attrs.causal != 0 ? token + 1 : task.tokens};
}

// Up to kTrainRows rows and what each sees of a tile, counted from the tile's first key.
struct RowsInTile {
  int64_t tile;
  int64_t count;
  KeyRange seen[kTrainRows];
  int64_t token[kTrainRows];
  int64_t head[kTrainRows];
  int64_t at[kTrainRows];  // in arrays [T, H]

  // Of up to kBlockRows rows: what any of them sees, for their ranges ascend.
  KeyRange seen_from(int64_t row) const {
    const int64_t last = std::min<int64_t>(row + kBlockRows, count) - 1;
    return {seen[row].begin, std::max(seen[row].begin, seen[last].end)};
  }
  int rows_from(int64_t row) const { return static_cast<int>(std::min<int64_t>(kBlockRows, count - row)); }
  bool sees_any() const { return seen[0].begin < seen[count - 1].end; }
};

inline RowsInTile rows_in_tile(const TrainTask& task, int64_t first, int64_t count, int64_t tile) {
  RowsInTile rows;
  rows.tile = tile;
  rows.count = count;
  const int64_t group = group_of(task);
  int64_t token = first / group;
  int64_t head = first % group;
  KeyRange range = range_of(task, first);
  for (int64_t r = 0; r < count; ++r) {
    if (head == group) {
      head = 0;
      range = range_of(task, ++token * group);
    }
    const int64_t begin = std::clamp<int64_t>(range.begin - tile, 0, kTrainKeys);
    rows.seen[r] = {begin, std::clamp<int64_t>(range.end - tile, begin, kTrainKeys)};
    rows.token[r] = token;
    rows.head[r] = task.kv_head * group + head++;
    rows.at[r] = token * task.attrs.n_heads + rows.head[r];
  }
  return rows;
}

inline bool sees_sparse(const TrainTask& task, int64_t token, int64_t head, int64_t key) {
  const llmh_attention_attrs& a = task.attrs;
  const int64_t query = (task.position + token) / a.block_size;
  const int64_t block = (task.position + key) / a.block_size;
  return query - block < a.local_blocks || (block + head * a.head_step + 1) % a.vertical_stride == 0;
}

// --- Scores

// Packed queries [rows][k width], scaled so that scores are exponents of two, or what the cap is put on.
inline float query_factor(const TrainTask& task) {
  return task.attrs.softcap > 0 ? task.attrs.scale : task.attrs.scale * std::numbers::log2e_v<float>;
}

inline void pack_queries(const TrainTask& task, int64_t first, int64_t count, float* out) {
  const int64_t width = padded_lanes(task.attrs.k_head_dim);
  for (int64_t r = 0; r < count; ++r)
    pack_row(task.q + head_index(task, first + r) * task.attrs.k_head_dim, task.attrs.k_head_dim,
             query_factor(task), width, out + r * width);
}

// scores[r * stride + key] = a's row r times b's column key, for the columns of the tile that some of each
// few rows see; others are left alone.
inline void multiply_seen(const RowsInTile& rows, const float* a, int64_t width, int64_t depth,
                          const float* b, float* scores, int64_t stride) {
  const auto lanes = lane_count();
  for (int64_t r = 0; r < rows.count; r += kBlockRows) {
    const KeyRange seen = rows.seen_from(r);
    if (seen.begin == seen.end) continue;
    const int64_t begin = seen.begin / lanes * lanes;
    const int64_t end = (seen.end + lanes - 1) / lanes * lanes;
    multiply_rows<false>(rows.rows_from(r),
                         {.a = a + r * width,
                          .a_row = width,
                          .a_step = 1,
                          .b = b + begin,
                          .b_stride = kTrainKeys,
                          .depth = depth,
                          .c = scores + r * stride + begin,
                          .c_stride = stride},
                         end - begin);
  }
}

// The whole vectors that hold what a row sees of a tile begin here; outside of them scores mean nothing.
HWY_INLINE int64_t first_column(const KeyRange& seen) {
  return seen.begin / lane_count() * lane_count();
}

// Which columns of the vector at `key` a row sees.
struct SeenColumns {
  hn::Vec<hn::Rebind<int32_t, F32>> first;  // 0, 1, ...
  KeyRange seen;

  explicit HWY_INLINE SeenColumns(const KeyRange& range)
      : first(hn::Iota(hn::Rebind<int32_t, F32>(), 0)), seen(range) {}
  HWY_INLINE bool has_all(int64_t key) const { return key >= seen.begin && key + lane_count() <= seen.end; }
  HWY_INLINE hn::Mask<F32> at(int64_t key) const {
    const hn::Rebind<int32_t, F32> di;
    const auto begin = hn::Set(di, static_cast<int32_t>(seen.begin - key));
    const auto end = hn::Set(di, static_cast<int32_t>(seen.end - key));
    return hn::RebindMask(F32(), hn::AndNot(hn::Lt(first, begin), hn::Lt(first, end)));
  }
};

// Of one row in one tile: cap, slope and mask; -inf at columns that it does not see.
struct RowMask {
  const TrainTask& task;
  int64_t tile;
  KeyRange seen;  // in the tile
  int64_t token;
  int64_t head;

  HWY_INLINE Floats capped(F32 d, Floats s, float* derivative) const {
    const float cap = task.attrs.softcap;
    const Floats t = tanh_of(d, hn::Div(s, hn::Set(d, cap)));
    if (derivative != nullptr) hn::StoreU(hn::NegMulAdd(t, t, hn::Set(d, 1.0F)), d, derivative);
    return hn::Mul(hn::Set(d, cap * std::numbers::log2e_v<float>), t);
  }

  // With `derivatives`, those of the capped scores go there.
  void apply(float* scores, float* derivatives) const {
    const F32 d;
    const auto lanes = lane_count();
    const bool is_plain = task.attrs.softcap <= 0 && task.slopes == nullptr;
    const SeenColumns columns(seen);
    const Floats iota = hn::Iota(d, 0.0F);
    const float slope = task.slopes == nullptr ? 0.0F : task.slopes[head] * std::numbers::log2e_v<float>;
    for (int64_t key = first_column(seen); key < seen.end; key += lanes) {
      if (is_plain && columns.has_all(key)) continue;
      Floats s = hn::LoadU(d, scores + key);
      if (task.attrs.softcap > 0) s = capped(d, s, derivatives == nullptr ? nullptr : derivatives + key);
      if (task.slopes != nullptr)
        s = hn::MulAdd(hn::Set(d, slope), hn::Add(iota, hn::Set(d, static_cast<float>(tile + key - token))),
                       s);
      hn::StoreU(hn::IfThenElse(columns.at(key), s, hn::Set(d, kNothing)), d, scores + key);
    }
    if (task.attrs.block_size != 0) hide_blocks(scores);
  }

  void hide_blocks(float* scores) const {
    for (int64_t key = seen.begin; key < seen.end; ++key)
      if (!sees_sparse(task, token, head, tile + key)) scores[key] = kNothing;
  }

  // A NaN stays: it is not below.
  void cut(const TrainCutoff& cutoff, float* scores) const {
    const F32 d;
    const hn::Rebind<int32_t, F32> di;
    const Floats least = hn::Set(d, cutoff.score);
    const auto last = hn::Set(di, cutoff.key);
    const auto iota = hn::Iota(di, 0);
    for (int64_t key = first_column(seen); key < seen.end; key += lane_count()) {
      const Floats s = hn::LoadU(d, scores + key);
      const auto late =
          hn::RebindMask(d, hn::Gt(hn::Add(iota, hn::Set(di, static_cast<int32_t>(tile + key))), last));
      const auto drop = hn::Or(hn::Lt(s, least), hn::And(hn::Eq(s, least), late));
      hn::StoreU(hn::IfThenElse(drop, hn::Set(d, kNothing), s), d, scores + key);
    }
  }
};

// Writes 0 to the columns of a tile outside of the vectors that hold what a row sees.
HWY_INLINE void clear_unseen(const KeyRange& seen, float* row) {
  const F32 d;
  const auto lanes = lane_count();
  for (int64_t key = 0; key < first_column(seen); key += lanes) hn::StoreU(hn::Zero(d), d, row + key);
  for (int64_t key = (seen.end + lanes - 1) / lanes * lanes; key < kTrainKeys; key += lanes)
    hn::StoreU(hn::Zero(d), d, row + key);
}

inline void mask_row(const TrainTask& task, const RowsInTile& rows, int64_t r, float* scores,
                     float* derivatives) {
  const RowMask mask{task, rows.tile, rows.seen[r], rows.token[r], rows.head[r]};
  mask.apply(scores, derivatives);
  if (task.cutoffs != nullptr) mask.cut(task.cutoffs[rows.at[r]], scores);
}

}  // namespace llmhost::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
