// ATTENTION: writes the step's keys and values, then gives each (sequence, key/value head, block of rows) to
// a kernel. A row is one query of one head; the heads that share a key/value head are rows of the same block.
// Where such a block alone is much of the step's work, its chunks of the context are items of their own, and
// who finishes the last of them merges all; the arithmetic is the same.
#include <algorithm>
#include <atomic>
#include <limits>
#include <string>

#include "ops/state.h"

namespace llmhost::cpu {
namespace {

bool supports_attention(const NodeView& view) {
  const auto a = llmh::node_attrs<llmh_attention_attrs>(*view.node);
  return view.node->n_inputs >= 3 && all_f32(view) && a.n_heads > 0 && a.n_kv_heads > 0 &&
         a.n_heads % a.n_kv_heads == 0 && a.k_head_dim > 0 && a.v_head_dim > 0 && is_valid_visibility(a) &&
         a.top_k_ratio == 0;
}

// --- How a step's work is cut into items
// ---------------------------------------------------------------------------------------

constexpr int64_t kItemsPerThread = 8;
constexpr int64_t kMostSplitFloats = int64_t{1} << 22;
constexpr int64_t kMostSplitBlocks = 4096;
// Products below which another thread is not worth its start: about two microseconds of one.
constexpr int64_t kLeastShared = int64_t{1} << 18;

// Of one sequence.
struct Share {
  int64_t first_item;  // counted over all sequences
  int64_t rows;
  int64_t blocks;  // of rows of one key/value head
  int64_t first_chunk;
  int64_t pieces;         // items a block is cut into
  int64_t chunks;         // in all
  int64_t first_counter;  // of split blocks: how many pieces are done
  int64_t first_partial;  // floats
};

int64_t block_rows(const Share& share) {
  return std::min<int64_t>(share.rows, kAttentionRows);
}

// Room for what may be split; a step that would need more is not.
int64_t split_floats(const llmh_attention_attrs& attrs, const llmh_limits& limits) {
  const int64_t group = attrs.n_heads / attrs.n_kv_heads;
  const int64_t rows = std::min<int64_t>(kAttentionRows, limits.max_tokens * group);
  const int64_t blocks = attrs.n_kv_heads * std::min<int64_t>(limits.max_sequences, 4);
  const int64_t chunks = limits.max_state / kAttentionChunk + 2;
  const int64_t one = attention_partial_floats(rows, attrs.v_head_dim);
  if (one > kMostSplitFloats / chunks / blocks) return kMostSplitFloats;
  return one * chunks * blocks;
}

int64_t to_line(int64_t bytes) {
  return (bytes + 63) / 64 * 64;
}

// The scratch that threads share: shares [S+1], counters, partial softmaxes.
ScratchNeed attention_scratch(const NodeView& view, const llmh_limits& limits) {
  const auto attrs = llmh::node_attrs<llmh_attention_attrs>(*view.node);
  const int64_t shares = to_line((int64_t{limits.max_sequences} + 1) * int64_t{sizeof(Share)});
  const int64_t counters = to_line(kMostSplitBlocks * int64_t{sizeof(int32_t)});
  const int64_t partials = split_floats(attrs, limits) * int64_t{sizeof(float)};
  const int64_t floats = attention_scratch_floats(attrs.k_head_dim, attrs.v_head_dim);
  return {.per_thread = static_cast<uint64_t>(floats) * sizeof(float),
          .shared = static_cast<uint64_t>(shares + counters + partials)};
}

// One attention node in one step.
struct AttentionJob {
  const RunContext& context;
  const AttentionKernels& kernels;
  const StateSlot& slot;
  llmh_attention_attrs attrs;
  const float* q;
  const float* slopes;
  const float* sinks;
  float* out;
  Share* shares;      // [S+1]
  int32_t* counters;  // [kMostSplitBlocks]
  float* partials;
  int64_t partial_floats;

  int64_t group() const { return attrs.n_heads / attrs.n_kv_heads; }

  int64_t make_shares();
  void split(Share& share, int64_t last_position, int64_t& counter, int64_t& partial) const;
  AttentionTask task_of(int64_t sequence, int64_t block, int32_t thread) const;
  void set_row(AttentionTask& task, int32_t row, int64_t sequence, int64_t token, int64_t head) const;
  void set_state(AttentionState& state, int64_t sequence, int64_t kv_head) const;
  void run_item(int64_t item, int32_t thread) const;
  void run_whole(const AttentionTask& task) const;
  void run_piece(const Share& share, int64_t block, int64_t piece, const AttentionTask& task) const;
};

// Work of a block of rows, in any unit: decoding a key costs about as much as four rows' products with it.
int64_t block_cost(const Share& share, int64_t positions) {
  return (block_rows(share) + 4) * positions;
}

// Returns the work of all, in products.
int64_t AttentionJob::make_shares() {
  const llmh_step& step = context.step;
  int64_t total = 0;
  const auto positions = [&](int32_t s) {
    return step.state_lengths[s] - first_visible(attrs, step.positions[step.sequence_begin[s]]);
  };
  for (int32_t s = 0; s < step.n_sequences; ++s) {
    Share& share = shares[s];
    share = {};
    share.rows = (step.sequence_begin[s + 1] - step.sequence_begin[s]) * group();
    share.blocks = (share.rows + kAttentionRows - 1) / kAttentionRows * attrs.n_kv_heads;
    if (share.rows > 0) total += share.blocks * block_cost(share, positions(s));
  }
  int64_t item = 0;
  int64_t counter = 0;
  int64_t partial = 0;
  for (int32_t s = 0; s < step.n_sequences; ++s) {
    Share& share = shares[s];
    share.first_item = item;
    share.pieces = 1;
    if (share.rows > 0) {
      share.first_chunk =
          attention_chunk(first_visible(attrs, step.positions[step.sequence_begin[s]]), slot.page_tokens);
      if (context.n_threads() > 1 &&
          block_cost(share, positions(s)) > total / (kItemsPerThread * context.n_threads()))
        split(share, step.state_lengths[s] - 1, counter, partial);
    }
    item += share.blocks * share.pieces;
  }
  shares[step.n_sequences].first_item = item;
  std::fill_n(counters, counter, 0);
  return total * (attrs.k_head_dim + attrs.v_head_dim);
}

void AttentionJob::split(Share& share, int64_t last_position, int64_t& counter, int64_t& partial) const {
  share.chunks = attention_chunk(last_position, slot.page_tokens) - share.first_chunk + 1;
  const int64_t wanted = (kItemsPerThread * context.n_threads() + share.blocks - 1) / share.blocks;
  const int64_t pieces = std::min(wanted, share.chunks);
  const int64_t floats =
      share.blocks * share.chunks * attention_partial_floats(block_rows(share), attrs.v_head_dim);
  if (pieces < 2 || counter + share.blocks > kMostSplitBlocks || partial + floats > partial_floats) return;
  share.pieces = pieces;
  share.first_counter = counter;
  share.first_partial = partial;
  counter += share.blocks;
  partial += floats;
}

void AttentionJob::set_state(AttentionState& state, int64_t sequence, int64_t kv_head) const {
  const int64_t size = state_element_bytes(state_type(slot.dtype));
  const int64_t key_width = int64_t{attrs.n_kv_heads} * attrs.k_head_dim;
  const int64_t value_width = int64_t{attrs.n_kv_heads} * attrs.v_head_dim;
  const StatePart keys = key_part(slot, key_width);
  const StatePart values = value_part(slot, value_width);
  state.data = slot.data;
  state.pages = context.step.page_table + sequence * context.step.page_table_stride;
  state.page_bytes = slot.page_bytes;
  state.page_tokens = slot.page_tokens;
  state.key_first = kv_head * attrs.k_head_dim;
  state.key_stride = state_columns(slot.page_tokens);
  state.key_offset = keys.data + state.key_first * state.key_stride * size;
  state.key_scale_offset = keys.scales;
  state.value_first = kv_head * attrs.v_head_dim;
  state.value_stride = value_width;
  state.value_offset = values.data + state.value_first * size;
  state.value_scale_offset = values.scales;
  state.value_scale_stride = state_columns(slot.page_tokens);
}

void AttentionJob::set_row(AttentionTask& task, int32_t row, int64_t sequence, int64_t token,
                           int64_t head) const {
  const llmh_step& step = context.step;
  const int64_t position = step.positions[token];
  task.query[row] = q + (token * attrs.n_heads + head) * attrs.k_head_dim;
  task.out[row] = out + (token * attrs.n_heads + head) * attrs.v_head_dim;
  task.position[row] = position;
  task.begin[row] = first_visible(attrs, position);
  task.head_shift[row] = head * attrs.head_step;
  task.end[row] = attrs.causal != 0 ? position + 1 : int64_t{step.state_lengths[sequence]};
  task.slope[row] = slopes == nullptr ? 0.0F : slopes[head];
  task.sink[row] = sinks == nullptr ? 0.0F : sinks[head];
}

AttentionTask AttentionJob::task_of(int64_t sequence, int64_t block, int32_t thread) const {
  const int64_t kv_head = block % attrs.n_kv_heads;
  const int64_t begin = block / attrs.n_kv_heads * kAttentionRows;
  const int64_t first_token = context.step.sequence_begin[sequence];
  AttentionTask task;
  task.has_sinks = sinks != nullptr;
  task.has_slopes = slopes != nullptr;
  task.scale = attrs.scale;
  task.softcap = attrs.softcap;
  task.block_size = attrs.block_size;
  task.local_blocks = attrs.local_blocks;
  task.vertical_stride = attrs.vertical_stride;
  task.k_dim = attrs.k_head_dim;
  task.v_dim = attrs.v_head_dim;
  task.scratch = context.thread_scratch(thread);
  set_state(task.state, sequence, kv_head);
  task.rows = static_cast<int32_t>(std::min<int64_t>(kAttentionRows, shares[sequence].rows - begin));
  for (int32_t row = 0; row < task.rows; ++row)
    set_row(task, row, sequence, first_token + (begin + row) / group(),
            kv_head * group() + (begin + row) % group());
  kernels.prepare(task);
  return task;
}

void clear(const AttentionPartial& partial, int64_t rows, int64_t v_dim) {
  std::fill_n(partial.maximum, rows, -std::numeric_limits<float>::infinity());
  std::fill_n(partial.total, rows, 0.0F);
  std::fill_n(partial.sums, rows * padded_lanes(v_dim), 0.0F);
}

float* partial_place(const AttentionTask& task, int64_t number) {
  return task.scratch + attention_work_floats(task.k_dim, task.v_dim) +
         number * attention_partial_floats(kAttentionRows, task.v_dim);
}

void AttentionJob::run_whole(const AttentionTask& task) const {
  const AttentionPartial all = attention_partial(partial_place(task, 0), task.rows);
  const AttentionPartial one = attention_partial(partial_place(task, 1), task.rows);
  clear(all, task.rows, task.v_dim);
  const int64_t begin = *std::min_element(task.begin, task.begin + task.rows);
  const int64_t end = *std::max_element(task.end, task.end + task.rows);
  const int64_t last = attention_chunk(end - 1, slot.page_tokens);
  for (int64_t chunk = attention_chunk(begin, slot.page_tokens); chunk <= last; ++chunk) {
    kernels.chunk[state_type(slot.dtype)](task, chunk, chunk < last ? chunk + 1 : -1, one);
    kernels.merge(task, one, all);
  }
  kernels.finish(task, all);
}

void AttentionJob::run_piece(const Share& share, int64_t block, int64_t piece,
                             const AttentionTask& task) const {
  const int64_t stride = attention_partial_floats(block_rows(share), task.v_dim);
  float* place = partials + share.first_partial + block * share.chunks * stride;
  const auto partial = [&](int64_t i) { return attention_partial(place + i * stride, task.rows); };
  const int64_t end = share.chunks * (piece + 1) / share.pieces;
  for (int64_t i = share.chunks * piece / share.pieces; i < end; ++i) {
    const int64_t chunk = share.first_chunk + i;
    kernels.chunk[state_type(slot.dtype)](task, chunk, i + 1 < end ? chunk + 1 : -1, partial(i));
  }
  const std::atomic_ref<int32_t> done(counters[share.first_counter + block]);
  if (done.fetch_add(1, std::memory_order_acq_rel) + 1 < share.pieces) return;
  const AttentionPartial all = attention_partial(partial_place(task, 0), task.rows);
  clear(all, task.rows, task.v_dim);
  for (int64_t i = 0; i < share.chunks; ++i) kernels.merge(task, partial(i), all);
  kernels.finish(task, all);
}

// Threads begin with equal runs of items: each shall get every so manieth piece of work, beginning with the
// last, which in a prompt are the longest.
int64_t number_of(int64_t item, int64_t n_items, int64_t n_threads) {
  const int64_t run = n_items / n_threads;
  const int64_t place = item < run * n_threads ? item % run * n_threads + item / run : item;
  return n_items - 1 - place;
}

void AttentionJob::run_item(int64_t item, int32_t thread) const {
  const int32_t n_sequences = context.step.n_sequences;
  const int64_t number = number_of(item, shares[n_sequences].first_item, context.n_threads());
  const Share* after = std::upper_bound(shares, shares + n_sequences + 1, number,
                                        [](int64_t i, const Share& share) { return i < share.first_item; });
  const Share& share = after[-1];
  const int64_t local = number - share.first_item;
  const int64_t block = local % share.blocks;
  const AttentionTask task = task_of(&share - shares, block, thread);
  if (share.pieces == 1)
    run_whole(task);
  else
    run_piece(share, block, local / share.blocks, task);
}

// What the sequence's queries look at must still be there.
void check_visible(const RunContext& context, const StateSlot& slot, const llmh_attention_attrs& attrs,
                   int32_t sequence) {
  const llmh_step& step = context.step;
  const int32_t first = step.sequence_begin[sequence];
  if (first == step.sequence_begin[sequence + 1]) return;
  check_pages(context, slot, sequence, first_visible(attrs, step.positions[first]),
              step.state_lengths[sequence]);
}

void run_attention(const RunContext& context, const Call& call) {
  const llmh_step& step = context.step;
  const auto attrs = llmh::node_attrs<llmh_attention_attrs>(*call.node);
  const StateSlot& slot = *call.state;
  write_state(context, slot, context.floats(call.inputs[1]), int64_t{attrs.n_kv_heads} * attrs.k_head_dim,
              context.floats(call.inputs[2]), int64_t{attrs.n_kv_heads} * attrs.v_head_dim);
  for (int32_t s = 0; s < step.n_sequences; ++s) check_visible(context, slot, attrs, s);
  uint8_t* shares = context.shared_scratch();
  uint8_t* counters = shares + to_line((int64_t{step.n_sequences} + 1) * int64_t{sizeof(Share)});
  uint8_t* partials = counters + to_line(kMostSplitBlocks * int64_t{sizeof(int32_t)});
  const auto used = static_cast<uint64_t>(partials - shares);
  AttentionJob job{
      .context = context,
      .kernels = context.kernels.attention,
      .slot = slot,
      .attrs = attrs,
      .q = context.floats(call.inputs[0]),
      .slopes = context.floats_or_null(call, 3),
      .sinks = context.floats_or_null(call, 4),
      .out = context.out(call.outputs[0]),
      .shares = reinterpret_cast<Share*>(shares),
      .counters = reinterpret_cast<int32_t*>(counters),
      .partials = reinterpret_cast<float*>(partials),
      .partial_floats = static_cast<int64_t>((context.shared_bytes() - used) / sizeof(float)),
  };
  const bool is_small = job.make_shares() < kLeastShared;
  const int64_t n_items = job.shares[step.n_sequences].first_item;
  const auto run = [&](int64_t item, int32_t thread) { job.run_item(item, thread); };
  if (!is_small) return context.parallel(n_items, run);
  for (int64_t item = 0; item < n_items; ++item) run(item, 0);
}

constexpr OpEntry kEntries[] = {{LLMH_OP_ATTENTION, supports_attention, run_attention, attention_scratch}};

}  // namespace

OpList attention_ops() {
  return {kEntries, std::size(kEntries)};
}

}  // namespace llmhost::cpu
