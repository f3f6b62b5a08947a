#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/attention_train.cpp"
#include "hwy/foreach_target.h"  // must come before highway.h
#include "hwy/highway.h"
#include "kernels/attention_grad-inl.h"
#include "kernels/attention_select-inl.h"
#include "kernels/attention_train-inl.h"
#include "kernels/kernels.h"

// Rows share loads alone: what another row's presence may add is a product of a weight of 0.
HWY_BEFORE_NAMESPACE();
namespace llmhost::cpu::HWY_NAMESPACE {
namespace {

// Where the parts of a forward task lie in its scratch.
struct Forward {
  const TrainTask& task;
  int64_t rows;
  int64_t k_width;
  int64_t v_width;
  float* queries;  // [kTrainTask][k_width]
  float* sums;     // [kTrainTask][v_width]
  float* maximum;  // [kTrainTask]
  float* total;    // [kTrainTask]
  float* scores;   // [kTrainRows][kTrainKeys]
  float* keys;     // [k_dim][kTrainKeys]
  float* values;   // [kTrainKeys][v_width]
};

Forward forward_of(const TrainTask& task) {
  Forward f{.task = task,
            .rows = task.end - task.begin,
            .k_width = padded_lanes(task.attrs.k_head_dim),
            .v_width = padded_lanes(task.attrs.v_head_dim),
            .queries = task.scratch,
            .sums = nullptr,
            .maximum = nullptr,
            .total = nullptr,
            .scores = nullptr,
            .keys = nullptr,
            .values = nullptr};
  f.sums = f.queries + kTrainTask * f.k_width;
  f.scores = f.sums + kTrainTask * f.v_width;
  f.keys = f.scores + kTrainRows * kTrainKeys;
  f.values = f.keys + kTrainKeys * f.k_width;
  f.maximum = f.values + kTrainKeys * f.v_width;
  f.total = f.maximum + kTrainTask;
  return f;
}

void scale_row(float factor, int64_t n, float* row) {
  const F32 d;
  for (int64_t i = 0; i < n; i += lane_count())
    hn::StoreU(hn::Mul(hn::LoadU(d, row + i), hn::Set(d, factor)), d, row + i);
}

// Turns scores of a tile into weights and brings the row's sums to the new maximum.
void weigh(const Forward& f, int64_t row, const KeyRange& seen, float* scores) {
  const F32 d;
  const auto lanes = lane_count();
  const int64_t begin = first_column(seen);
  Floats highest = hn::Set(d, kNothing);
  for (int64_t key = begin; key < seen.end; key += lanes)
    highest = hn::Max(highest, hn::LoadU(d, scores + key));
  const float before = f.maximum[row];
  const float maximum = std::max(before, hn::GetLane(hn::MaxOfLanes(d, highest)));
  const float base = maximum == kNothing ? 0.0F : maximum;
  Floats sum = hn::Zero(d);
  for (int64_t key = begin; key < seen.end; key += lanes) {
    const Floats weight = weight_of(d, hn::Sub(hn::LoadU(d, scores + key), hn::Set(d, base)));
    hn::StoreU(weight, d, scores + key);
    sum = hn::Add(sum, weight);
  }
  clear_unseen(seen, scores);
  const float keep = weight_of(before - base);
  if (keep != 1.0F) scale_row(keep, f.v_width, f.sums + row * f.v_width);
  f.maximum[row] = maximum;
  f.total[row] = f.total[row] * keep + hn::GetLane(hn::SumOfLanes(d, sum));
}

// Rows from `first` of the task meet a tile.
void meet(const Forward& f, int64_t first, const RowsInTile& rows) {
  multiply_seen(rows, f.queries + first * f.k_width, f.k_width, f.task.attrs.k_head_dim, f.keys, f.scores,
                kTrainKeys);
  for (int64_t r = 0; r < rows.count; ++r) {
    float* scores = f.scores + r * kTrainKeys;
    if (rows.seen[r].begin == rows.seen[r].end) {
      std::fill_n(scores, kTrainKeys, 0.0F);
      continue;
    }
    mask_row(f.task, rows, r, scores, nullptr);
    weigh(f, first + r, rows.seen[r], scores);
  }
  for (int64_t r = 0; r < rows.count; r += kBlockRows) {
    const KeyRange seen = rows.seen_from(r);
    multiply_rows<true>(rows.rows_from(r),
                        {.a = f.scores + r * kTrainKeys + seen.begin,
                         .a_row = kTrainKeys,
                         .a_step = 1,
                         .b = f.values + seen.begin * f.v_width,
                         .b_stride = f.v_width,
                         .depth = seen.end - seen.begin,
                         .c = f.sums + (first + r) * f.v_width,
                         .c_stride = f.v_width},
                        f.v_width);
  }
}

// The sink counts here; a row that saw nothing gives zeros.
void finish(const Forward& f, int64_t r) {
  const TrainTask& task = f.task;
  const int64_t row = task.begin + r;
  const int64_t at = head_index(task, row);
  float maximum = f.maximum[r];
  float total = f.total[r];
  float factor = 1.0F;
  if (task.sinks != nullptr) {
    const float sink = task.sinks[head_of(task, row)] * std::numbers::log2e_v<float>;
    const float highest = std::max(maximum, sink);
    if (highest != kNothing) {
      factor = weight_of(maximum - highest);
      total = total * factor + weight_of(sink - highest);
      maximum = highest;
    }
  }
  const bool is_empty = total == 0.0F;
  const float share = is_empty ? 0.0F : factor / total;
  const float* sums = f.sums + r * f.v_width;
  float* out = task.out + at * task.attrs.v_head_dim;
  for (int32_t i = 0; i < task.attrs.v_head_dim; ++i) out[i] = is_empty ? 0.0F : sums[i] * share + 0.0F;
  task.lse[at] = is_empty ? kNothing
                          : static_cast<float>(static_cast<double>(maximum) * std::numbers::ln2 +
                                               std::log(static_cast<double>(total)));
}

void forward(const TrainTask& task) {
  const Forward f = forward_of(task);
  pack_queries(task, task.begin, f.rows, f.queries);
  std::fill_n(f.sums, f.rows * f.v_width, 0.0F);
  std::fill_n(f.maximum, f.rows, kNothing);
  std::fill_n(f.total, f.rows, 0.0F);
  const KeyRange all{range_of(task, task.begin).begin, range_of(task, task.end - 1).end};
  for (int64_t tile = all.begin / kTrainKeys * kTrainKeys; tile < all.end; tile += kTrainKeys) {
    const int64_t keys = std::min<int64_t>(kTrainKeys, task.tokens - tile);
    pack_transposed(keys_of(task, tile), keys, task.attrs.k_head_dim, f.keys);
    pack_tile(values_of(task, tile), keys, task.attrs.v_head_dim, f.values);
    for (int64_t first = 0; first < f.rows; first += kTrainRows) {
      const int64_t count = std::min<int64_t>(kTrainRows, f.rows - first);
      const RowsInTile rows = rows_in_tile(task, task.begin + first, count, tile);
      if (rows.sees_any()) meet(f, first, rows);
    }
  }
  for (int64_t r = 0; r < f.rows; ++r) finish(f, r);
}

void delta(const TrainTask& task) {
  const F32 d;
  const int64_t dim = task.attrs.v_head_dim;
  const auto lanes = lane_count();
  for (int64_t row = task.begin; row < task.end; ++row) {
    const int64_t at = head_index(task, row);
    const float* out = task.out + at * dim;
    const float* dout = task.dout + at * dim;
    Floats sum = hn::Zero(d);
    int64_t i = 0;
    for (; i + lanes <= dim; i += lanes) sum = hn::MulAdd(hn::LoadU(d, out + i), hn::LoadU(d, dout + i), sum);
    if (i < dim) sum = hn::MulAdd(load_tail(d, out + i, dim - i), load_tail(d, dout + i, dim - i), sum);
    task.delta[at] = hn::GetLane(hn::SumOfLanes(d, sum));
  }
}

TrainAttentionKernels train_attention_table() {
  return {cutoffs, forward, delta, grad, keys_of_task};
}

}  // namespace
}  // namespace llmhost::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace llmhost::cpu {
HWY_EXPORT(train_attention_table);
TrainAttentionKernels train_attention_kernels() {
  return HWY_DYNAMIC_DISPATCH(train_attention_table)();
}
}  // namespace llmhost::cpu
#endif
