// ATTENTION: writes the step's keys and values, then gives each (sequence, key/value head, block of rows) to
// a kernel. A row is one query of one head; the heads that share a key/value head are rows of the same block.
#include <algorithm>
#include <string>

#include "ops/state.h"

namespace llmhost::cpu {
namespace {

bool supports_attention(const NodeView& view) {
  const auto a = llmh::node_attrs<llmh_attention_attrs>(*view.node);
  return view.node->n_inputs >= 3 && all_f32(view) && a.n_heads > 0 && a.n_kv_heads > 0 &&
         a.n_heads % a.n_kv_heads == 0 && a.k_head_dim > 0 && a.v_head_dim > 0 && is_valid_visibility(a);
}

ScratchNeed attention_scratch(const NodeView& view, const llmh_limits& limits) {
  const auto attrs = llmh::node_attrs<llmh_attention_attrs>(*view.node);
  return {.per_thread = static_cast<uint64_t>(attention_scratch_floats(attrs.v_head_dim)) * sizeof(float),
          .shared = (static_cast<uint64_t>(limits.max_sequences) + 1) * sizeof(int64_t)};
}

// One attention node in one step.
struct AttentionJob {
  const RunContext& context;
  const StateSlot& slot;
  llmh_attention_attrs attrs;
  const float* q;
  const float* slopes;
  const float* sinks;
  float* out;
  const int64_t* first_item;  // [S+1]
  void (*kernel)(const AttentionTask& task);

  int64_t group() const { return attrs.n_heads / attrs.n_kv_heads; }

  AttentionTask geometry(int64_t sequence, int64_t kv_head) const {
    const int64_t size = llmh_dtype_layout_of(slot.dtype).block_bytes;
    const int64_t key_width = int64_t{attrs.n_kv_heads} * attrs.k_head_dim;
    AttentionTask task;
    task.has_sinks = sinks != nullptr;
    task.has_slopes = slopes != nullptr;
    task.scale = attrs.scale;
    task.softcap = attrs.softcap;
    task.block_size = attrs.block_size;
    task.local_blocks = attrs.local_blocks;
    task.vertical_stride = attrs.vertical_stride;
    task.state = slot.data;
    task.pages = context.step.page_table + sequence * context.step.page_table_stride;
    task.page_bytes = slot.page_bytes;
    task.page_tokens = slot.page_tokens;
    task.key_stride = state_key_stride(slot.page_tokens);
    task.key_offset = state_key_offset(slot, key_width) + kv_head * attrs.k_head_dim * task.key_stride * size;
    task.value_stride = int64_t{attrs.n_kv_heads} * attrs.v_head_dim;
    task.value_offset = kv_head * attrs.v_head_dim * size;
    task.k_dim = attrs.k_head_dim;
    task.v_dim = attrs.v_head_dim;
    return task;
  }

  void set_row(AttentionTask& task, int32_t row, int64_t sequence, int64_t token, int64_t head) const {
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

  void run_item(int64_t item, int32_t thread) const {
    const llmh_step& step = context.step;
    const int64_t* after = std::upper_bound(first_item, first_item + step.n_sequences + 1, item);
    const int64_t sequence = after - first_item - 1;
    const int64_t local = item - first_item[sequence];
    const int64_t kv_head = local % attrs.n_kv_heads;
    const int64_t first_token = step.sequence_begin[sequence];
    const int64_t rows = (step.sequence_begin[sequence + 1] - first_token) * group();
    const int64_t begin = local / attrs.n_kv_heads * kAttentionRows;
    AttentionTask task = geometry(sequence, kv_head);
    task.rows = static_cast<int32_t>(std::min<int64_t>(kAttentionRows, rows - begin));
    for (int32_t row = 0; row < task.rows; ++row)
      set_row(task, row, sequence, first_token + (begin + row) / group(),
              kv_head * group() + (begin + row) % group());
    task.scratch = context.thread_scratch(thread);
    kernel(task);
  }
};

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
  auto* first_item = reinterpret_cast<int64_t*>(context.shared_scratch());
  first_item[0] = 0;
  const int64_t group = attrs.n_heads / attrs.n_kv_heads;
  for (int32_t s = 0; s < step.n_sequences; ++s) {
    check_visible(context, slot, attrs, s);
    const int64_t rows = (step.sequence_begin[s + 1] - step.sequence_begin[s]) * group;
    first_item[s + 1] = first_item[s] + (rows + kAttentionRows - 1) / kAttentionRows * attrs.n_kv_heads;
  }
  const AttentionKernels& kernels = context.kernels.attention;
  const AttentionJob job{
      .context = context,
      .slot = slot,
      .attrs = attrs,
      .q = context.floats(call.inputs[0]),
      .slopes = context.floats_or_null(call, 3),
      .sinks = context.floats_or_null(call, 4),
      .out = context.out(call.outputs[0]),
      .first_item = first_item,
      .kernel = slot.dtype == LLMH_DTYPE_F32   ? kernels.f32
                : slot.dtype == LLMH_DTYPE_F16 ? kernels.f16
                                               : kernels.bf16,
  };
  context.parallel(first_item[step.n_sequences],
                   [&](int64_t item, int32_t thread) { job.run_item(item, thread); });
}

constexpr OpEntry kEntries[] = {{LLMH_OP_ATTENTION, supports_attention, run_attention, attention_scratch}};

}  // namespace

OpList attention_ops() {
  return {kEntries, std::size(kEntries)};
}

}  // namespace llmhost::cpu
