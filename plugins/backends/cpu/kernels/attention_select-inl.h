// Which keys a row keeps when it keeps the largest scores alone.
#if defined(LLMHOST_CPU_ATTENTION_SELECT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LLMHOST_CPU_ATTENTION_SELECT_INL_H_
#undef LLMHOST_CPU_ATTENTION_SELECT_INL_H_
#else
#define LLMHOST_CPU_ATTENTION_SELECT_INL_H_
#endif

#include "kernels/attention_train-inl.h"

HWY_BEFORE_NAMESPACE();
namespace llmhost::cpu::HWY_NAMESPACE {
namespace {

// The `kept`-th largest score of [begin, end) of a row, and the last key of its size that is still kept.
// `copy` has room for as many. A NaN is below all.
TrainCutoff cutoff_of(const float* scores, const KeyRange& range, int64_t kept, float* copy) {
  const int64_t n = range.end - range.begin;
  for (int64_t i = 0; i < n; ++i) {
    const float s = scores[range.begin + i];
    copy[i] = std::isnan(s) ? kNothing : s;
  }
  std::nth_element(copy, copy + (kept - 1), copy + n, std::greater<>());
  const float least = copy[kept - 1];
  int64_t equal = kept;
  for (int64_t i = 0; i < kept; ++i) equal -= copy[i] > least ? 1 : 0;
  for (int64_t key = range.begin; key < range.end; ++key)
    if (scores[key] == least && --equal == 0) return {least, static_cast<int32_t>(key)};
  return {least, std::numeric_limits<int32_t>::max()};
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
  float* copy = scores + kTrainRows * stride;
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
                  : cutoff_of(scores + r * stride, range, kept, copy);
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
