#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/attention.cpp"
#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

#include "hwy/foreach_target.h"  // must come before highway.h
#include "hwy/highway.h"
#include "kernels/attention_math-inl.h"
#include "kernels/attention_work-inl.h"
#include "kernels/kernels.h"
#include "kernels/math-inl.h"

// For each row the order of operations follows from its own position and the chunks alone; rows share only
// loads. What another row's presence may add is a product of a weight of 0: it changes no sum but the sign of
// a zero, which finish() makes positive.
HWY_BEFORE_NAMESPACE();
namespace llmhost::cpu::HWY_NAMESPACE {
namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

// Scores are kept as exponents of 2; a cap comes before that.
void prepare(const AttentionTask& task) {
  const float factor = task.softcap > 0 ? task.scale : task.scale * std::numbers::log2e_v<float>;
  const int64_t stride = padded_lanes(task.k_dim);
  for (int32_t row = 0; row < task.rows; ++row) {
    float* query = task.scratch + row * stride;
    for (int32_t i = 0; i < task.k_dim; ++i) query[i] = task.query[row][i] * factor;
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

// --- Chunks
// --------------------------------------------------------------------------------------------------------

template <typename T>
void chunk(const AttentionTask& task, int64_t number, int64_t next, const AttentionPartial& out) {
  const ChunkGroups groups = groups_of(task, number);
  const Work work = work_of(task, groups, out);
  std::fill_n(out.sums, task.rows * work.sums_stride, 0.0F);
  // A vector of values has one scale only where heads begin at whole vectors.
  const bool is_uneven = has_scales<T>() && task.state.value_first % kAttentionGroup != 0;
  // Two blocks of rows decode as they go sooner than through memory.
  const int most_direct = is_uneven ? kDirectRows : 2 * kDirectRows;
  const bool is_decoded = !std::is_same_v<T, float> && task.rows > most_direct;
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
