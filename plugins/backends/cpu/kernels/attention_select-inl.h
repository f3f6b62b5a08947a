// Which keys a row keeps when it keeps the largest scores alone.
#if defined(LLMHOST_CPU_ATTENTION_SELECT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LLMHOST_CPU_ATTENTION_SELECT_INL_H_
#undef LLMHOST_CPU_ATTENTION_SELECT_INL_H_
#else
#define LLMHOST_CPU_ATTENTION_SELECT_INL_H_
#endif

#include <bit>

#include "kernels/attention_train-inl.h"

HWY_BEFORE_NAMESPACE();
namespace llmhost::cpu::HWY_NAMESPACE {
namespace {

using Ints = hn::Vec<hn::Rebind<int32_t, F32>>;

// Integers in the order of the scores, -0 and 0 alike; a NaN is below all.
HWY_INLINE Ints order_of(F32 d, Floats score) {
  const hn::Rebind<int32_t, F32> di;
  const Floats s = hn::IfThenElse(hn::IsNaN(score), hn::Set(d, kNothing), hn::Add(score, hn::Zero(d)));
  const Ints bits = hn::BitCast(di, s);
  return hn::Xor(bits, hn::And(hn::ShiftRight<31>(bits), hn::Set(di, 0x7FFFFFFF)));
}

// How many of n are at least `bound`.
HWY_INLINE int64_t count_from(const int32_t* order, int64_t n, int32_t bound) {
  const hn::Rebind<int32_t, F32> di;
  const Ints least = hn::Set(di, bound);
  int64_t count = 0;
  for (int64_t i = 0; i < n; i += lane_count())
    count += static_cast<int64_t>(hn::CountTrue(di, hn::Not(hn::Lt(hn::LoadU(di, order + i), least))));
  return count;
}

// The `kept`-th largest of n: the largest bound that as many reach, bit by bit. What pads the last vector is
// below all.
HWY_INLINE int32_t largest_bound(const int32_t* order, int64_t n, int64_t kept) {
  int64_t bound = std::numeric_limits<int32_t>::min();
  for (int64_t step = int64_t{1} << 31; step > 0; step /= 2)
    if (bound + step <= std::numeric_limits<int32_t>::max() &&
        count_from(order, n, static_cast<int32_t>(bound + step)) >= kept)
      bound += step;
  return static_cast<int32_t>(bound);
}

// The `kept`-th largest score of [begin, end) of a row, and the last key of its size that is still kept.
// `order` has room for as many, in whole vectors.
TrainCutoff cutoff_of(const float* scores, const KeyRange& range, int64_t kept, int32_t* order) {
  const F32 d;
  const hn::Rebind<int32_t, F32> di;
  const int64_t n = range.end - range.begin;
  const auto lanes = lane_count();
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes)
    hn::StoreU(order_of(d, hn::LoadU(d, scores + range.begin + i)), di, order + i);
  if (i < n) {
    const Ints last = order_of(d, load_tail(d, scores + range.begin + i, n - i));
    const auto is_there = hn::FirstN(di, static_cast<size_t>(n - i));
    hn::StoreU(hn::IfThenElse(is_there, last, hn::Set(di, std::numeric_limits<int32_t>::min())), di,
               order + i);
  }
  const int32_t bound = largest_bound(order, n, kept);
  int64_t equal = kept - (bound == std::numeric_limits<int32_t>::max() ? 0 : count_from(order, n, bound + 1));
  for (i = 0; i < n; ++i)
    if (order[i] == bound && --equal == 0) break;
  const int32_t bits = bound ^ ((bound >> 31) & 0x7FFFFFFF);
  return {std::bit_cast<float>(bits), static_cast<int32_t>(range.begin + i)};
}

int64_t kept_of(const TrainTask& task, int64_t row, const KeyRange& range) {
  int64_t visible = range.end - range.begin;
  if (task.attrs.block_size != 0) {
    visible = 0;
    for (int64_t key = range.begin; key < range.end; ++key)
      visible += sees_sparse(task, row / group_of(task), head_of(task, row), key) ? 1 : 0;
  }
  const int64_t kept = llmh_top_k_kept(task.attrs.top_k_ratio, visible);
  return kept >= visible ? 0 : kept;  // 0: all
}

void cutoffs_of_rows(const TrainTask& task, int64_t first, int64_t count) {
  const int64_t k_width = padded_lanes(task.attrs.k_head_dim);
  const int64_t stride = (task.tokens + kTrainKeys - 1) / kTrainKeys * kTrainKeys;
  float* queries = task.scratch;
  float* keys = queries + kTrainRows * k_width;
  float* scores = keys + kTrainKeys * k_width;
  auto* order = reinterpret_cast<int32_t*>(scores + kTrainRows * stride);
  TrainTask uncut = task;
  uncut.cutoffs = nullptr;
  pack_queries(task, first, count, queries);
  const KeyRange all{range_of(task, first).begin, range_of(task, first + count - 1).end};
  for (int64_t tile = all.begin / kTrainKeys * kTrainKeys; tile < all.end; tile += kTrainKeys) {
    pack_transposed(keys_of(task, tile), std::min<int64_t>(kTrainKeys, task.tokens - tile),
                    task.attrs.k_head_dim, keys);
    const RowsInTile rows = rows_in_tile(task, first, count, tile);
    multiply_seen(rows, queries, k_width, task.attrs.k_head_dim, keys, scores + tile, stride);
    for (int64_t r = 0; r < count; ++r) mask_row(uncut, rows, r, scores + r * stride + tile, nullptr);
  }
  for (int64_t r = 0; r < count; ++r) {
    const KeyRange range = range_of(task, first + r);
    const int64_t kept = range.begin < range.end ? kept_of(task, first + r, range) : 0;
    task.cutoffs[head_index(task, first + r)] =
        kept == 0 ? TrainCutoff{kNothing, std::numeric_limits<int32_t>::max()}
                  : cutoff_of(scores + r * stride, range, kept, order);
  }
}

void cutoffs(const TrainTask& task) {
  for (int64_t first = task.begin; first < task.end; first += kTrainRows)
    cutoffs_of_rows(task, first, std::min<int64_t>(kTrainRows, task.end - first));
}

}  // namespace
}  // namespace llmhost::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
