// The gradient of attention (Dao et al. 2022, appendix B): weights are made again from lse, a tile of keys
// meets all rows of the task, and its dk and dv stay in scratch meanwhile.
#if defined(LLMHOST_CPU_ATTENTION_GRAD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LLMHOST_CPU_ATTENTION_GRAD_INL_H_
#undef LLMHOST_CPU_ATTENTION_GRAD_INL_H_
#else
#define LLMHOST_CPU_ATTENTION_GRAD_INL_H_
#endif

#include "kernels/attention_train-inl.h"

HWY_BEFORE_NAMESPACE();
namespace llmhost::cpu::HWY_NAMESPACE {
namespace {

struct Grad {
  const TrainTask& task;
  int64_t k_width;
  int64_t v_width;
  float* queries;  // [kTrainRows][k_width]
  float* douts;    // [kTrainRows][v_width]
  float* dqueries;
  float* weights;   // [kTrainRows][kTrainKeys]
  float* dscores;   // likewise
  float* keys_t;    // [k_dim][kTrainKeys]
  float* values_t;  // [v_dim][kTrainKeys]
  float* keys;      // [kTrainKeys][k_width]
  float* dkeys;
  float* dvalues;  // [kTrainKeys][v_width]
};

Grad grad_of(const TrainTask& task) {
  Grad g{.task = task,
         .k_width = padded_lanes(task.attrs.k_head_dim),
         .v_width = padded_lanes(task.attrs.v_head_dim),
         .queries = task.scratch,
         .douts = nullptr,
         .dqueries = nullptr,
         .weights = nullptr,
         .dscores = nullptr,
         .keys_t = nullptr,
         .values_t = nullptr,
         .keys = nullptr,
         .dkeys = nullptr,
         .dvalues = nullptr};
  g.douts = g.queries + kTrainRows * g.k_width;
  g.dqueries = g.douts + kTrainRows * g.v_width;
  g.weights = g.dqueries + kTrainRows * g.k_width;
  g.dscores = g.weights + kTrainRows * kTrainKeys;
  g.keys_t = g.dscores + kTrainRows * kTrainKeys;
  g.values_t = g.keys_t + kTrainKeys * g.k_width;
  g.keys = g.values_t + kTrainKeys * g.v_width;
  g.dkeys = g.keys + kTrainKeys * g.k_width;
  g.dvalues = g.dkeys + kTrainKeys * g.k_width;
  return g;
}

KeyRange keys_of_task(const TrainTask& task) {
  const int64_t begin = range_of(task, task.begin).begin / kTrainKeys * kTrainKeys;
  const int64_t end = range_of(task, task.end - 1).end;
  return {begin, std::min((end + kTrainKeys - 1) / kTrainKeys * kTrainKeys, task.tokens)};
}

// Scores become weights, gradients of weights those of scores; both 0 at what the row does not see.
void differentiate(const Grad& g, const RowsInTile& rows, int64_t r) {
  const F32 d;
  const TrainTask& task = g.task;
  float* weights = g.weights + r * kTrainKeys;
  float* dscores = g.dscores + r * kTrainKeys;
  const KeyRange seen = rows.seen[r];
  if (seen.begin == seen.end) {
    std::fill_n(weights, kTrainKeys, 0.0F);
    std::fill_n(dscores, kTrainKeys, 0.0F);
    return;
  }
  HWY_ALIGN float slopes[kTrainKeys];
  const bool has_cap = task.attrs.softcap > 0;
  mask_row(task, rows, r, weights, has_cap ? slopes : nullptr);
  const int64_t at = rows.at[r];
  const float lse = task.lse[at] == kNothing ? 0.0F : task.lse[at];
  const Floats base = hn::Set(d, lse * std::numbers::log2e_v<float>);
  const Floats delta = hn::Set(d, task.delta[at]);
  const SeenColumns columns(seen);
  for (int64_t key = first_column(seen); key < seen.end; key += lane_count()) {
    const Floats weight = weight_of(d, hn::Sub(hn::LoadU(d, weights + key), base));
    Floats change = hn::Mul(weight, hn::Sub(hn::LoadU(d, dscores + key), delta));
    if (has_cap) change = hn::Mul(change, hn::LoadU(d, slopes + key));
    if (!columns.has_all(key)) change = hn::IfThenElseZero(columns.at(key), change);
    hn::StoreU(weight, d, weights + key);
    hn::StoreU(change, d, dscores + key);
  }
  clear_unseen(seen, weights);
  clear_unseen(seen, dscores);
}

// Which rows see some of the keys [key, key + kBlockRows) of a tile; both ends by kBlockRows.
KeyRange rows_that_see(const RowsInTile& rows, int64_t key) {
  KeyRange found{rows.count, 0};
  for (int64_t r = 0; r < rows.count; r += kBlockRows) {
    const KeyRange seen = rows.seen_from(r);
    if (seen.begin >= key + kBlockRows || seen.end <= key) continue;
    found.begin = std::min(found.begin, r);
    found.end = r + rows.rows_from(r);
  }
  return {std::min(found.begin, found.end), found.end};
}

// dk and dv of the tile take what some rows give.
void add_to_tile(const Grad& g, const RowsInTile& rows) {
  for (int64_t key = 0; key < kTrainKeys; key += kBlockRows) {
    const int keys = static_cast<int>(std::min<int64_t>(kBlockRows, kTrainKeys - key));
    const KeyRange some = rows_that_see(rows, key);
    if (some.begin == some.end) continue;
    Factors f{.a = g.weights + some.begin * kTrainKeys + key,
              .a_row = 1,
              .a_step = kTrainKeys,
              .b = g.douts + some.begin * g.v_width,
              .b_stride = g.v_width,
              .depth = some.end - some.begin,
              .c = g.dvalues + key * g.v_width,
              .c_stride = g.v_width};
    multiply_rows<true>(keys, f, g.v_width);
    f.a = g.dscores + some.begin * kTrainKeys + key;
    f.b = g.queries + some.begin * g.k_width;
    f.b_stride = g.k_width;
    f.c = g.dkeys + key * g.k_width;
    f.c_stride = g.k_width;
    multiply_rows<true>(keys, f, g.k_width);
  }
}

// target[i] += row[i] * factor for `dim` elements.
HWY_INLINE void add_row(const float* row, float factor, int64_t dim, float* target) {
  const F32 d;
  const auto lanes = lane_count();
  const Floats f = hn::Set(d, factor);
  int64_t i = 0;
  for (; i + lanes <= dim; i += lanes)
    hn::StoreU(hn::MulAdd(hn::LoadU(d, row + i), f, hn::LoadU(d, target + i)), d, target + i);
  if (i == dim) return;
  const Floats last = hn::MulAdd(load_tail(d, row + i, dim - i), f, load_tail(d, target + i, dim - i));
  store_tail(d, last, target + i, dim - i);
}

void add_to_rows(const Grad& g, const RowsInTile& rows) {
  const TrainTask& task = g.task;
  const int64_t dim = task.attrs.k_head_dim;
  for (int64_t r = 0; r < rows.count; r += kBlockRows) {
    const KeyRange seen = rows.seen_from(r);
    if (seen.begin == seen.end) continue;
    multiply_rows<false>(rows.rows_from(r),
                         {.a = g.dscores + r * kTrainKeys + seen.begin,
                          .a_row = kTrainKeys,
                          .a_step = 1,
                          .b = g.keys + seen.begin * g.k_width,
                          .b_stride = g.k_width,
                          .depth = seen.end - seen.begin,
                          .c = g.dqueries,
                          .c_stride = g.k_width},
                         g.k_width);
    for (int64_t i = 0; i < rows.rows_from(r); ++i)
      add_row(g.dqueries + i * g.k_width, task.attrs.scale, dim, task.dq + rows.at[r + i] * dim);
  }
}

void meet_grad(const Grad& g, int64_t first, const RowsInTile& rows) {
  const TrainTask& task = g.task;
  const int64_t v_dim = task.attrs.v_head_dim;
  pack_queries(task, first, rows.count, g.queries);
  for (int64_t r = 0; r < rows.count; ++r)
    pack_row(task.dout + rows.at[r] * v_dim, v_dim, 1.0F, g.v_width, g.douts + r * g.v_width);
  multiply_seen(rows, g.queries, g.k_width, task.attrs.k_head_dim, g.keys_t, g.weights, kTrainKeys);
  multiply_seen(rows, g.douts, g.v_width, v_dim, g.values_t, g.dscores, kTrainKeys);
  for (int64_t r = 0; r < rows.count; ++r) differentiate(g, rows, r);
  add_to_tile(g, rows);
  add_to_rows(g, rows);
}

// Queries were scaled when they were packed: what is too much comes off here.
void store_tile(const Grad& g, int64_t tile, int64_t count) {
  const TrainTask& task = g.task;
  const float factor = task.attrs.softcap > 0 ? 1.0F : std::numbers::ln2_v<float>;
  for (int64_t key = 0; key < count; ++key) {
    float* dk = task.dk + (tile + key) * task.dk_stride;
    float* dv = task.dv + (tile + key) * task.dv_stride;
    for (int32_t i = 0; i < task.attrs.k_head_dim; ++i) dk[i] = g.dkeys[key * g.k_width + i] * factor;
    for (int32_t i = 0; i < task.attrs.v_head_dim; ++i) dv[i] = g.dvalues[key * g.v_width + i];
  }
}

void grad(const TrainTask& task) {
  const Grad g = grad_of(task);
  for (int64_t row = task.begin; row < task.end; ++row)
    std::fill_n(task.dq + head_index(task, row) * task.attrs.k_head_dim, task.attrs.k_head_dim, 0.0F);
  const KeyRange keys = keys_of_task(task);
  for (int64_t tile = keys.begin; tile < keys.end; tile += kTrainKeys) {
    const int64_t count = std::min<int64_t>(kTrainKeys, task.tokens - tile);
    pack_transposed(keys_of(task, tile), count, task.attrs.k_head_dim, g.keys_t);
    pack_transposed(values_of(task, tile), count, task.attrs.v_head_dim, g.values_t);
    pack_tile(keys_of(task, tile), count, task.attrs.k_head_dim, g.keys);
    std::fill_n(g.dkeys, kTrainKeys * g.k_width, 0.0F);
    std::fill_n(g.dvalues, kTrainKeys * g.v_width, 0.0F);
    for (int64_t first = task.begin; first < task.end; first += kTrainRows) {
      const RowsInTile rows =
          rows_in_tile(task, first, std::min<int64_t>(kTrainRows, task.end - first), tile);
      if (rows.sees_any()) meet_grad(g, first, rows);
    }
    store_tile(g, tile, count);
  }
}

}  // namespace
}  // namespace llmhost::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
