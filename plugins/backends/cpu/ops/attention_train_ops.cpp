// ATTENTION_TRAIN and ATTENTION_GRAD: sequences over their own tokens. How rows are cut into items follows
// from the sequence and the heads alone, so the same bits come from any number of threads: each item owns
// what it writes, and where several add to the same keys, they do so apart and are added in their order.
#include <algorithm>
#include <cmath>

#include "ops/state.h"

namespace llmhost::cpu {
namespace {

constexpr int64_t kMostPieces = 4;    // of the rows of one head in the gradient
constexpr int64_t kLeastPiece = 256;  // tokens

bool supports_train(const NodeView& view) {
  const auto a = llmh::node_attrs<llmh_attention_attrs>(*view.node);
  return view.node->n_inputs >= 3 && all_f32(view) && a.n_heads > 0 && a.n_kv_heads > 0 &&
         a.n_heads % a.n_kv_heads == 0 && a.k_head_dim > 0 && a.v_head_dim > 0 && is_valid_visibility(a) &&
         a.top_k_ratio >= 0 && a.top_k_ratio <= 1;
}

bool supports_grad(const NodeView& view) {
  return view.node->n_inputs == 8 && view.node->n_outputs == 4 && supports_train(view);
}

bool has_top_k(const llmh_attention_attrs& attrs) {
  return attrs.top_k_ratio > 0 && attrs.top_k_ratio < 1;
}

int64_t to_line(int64_t bytes) {
  return (bytes + 63) / 64 * 64;
}

// With few key/value heads the rows of one are cut, and all but the last piece have keys and values of their
// own for a while.
int64_t most_pieces(const llmh_attention_attrs& attrs) {
  return std::clamp<int64_t>(8 / attrs.n_kv_heads, 1, kMostPieces);
}

int64_t pieces_of(const llmh_attention_attrs& attrs, int64_t tokens) {
  return std::clamp<int64_t>(tokens / kLeastPiece, 1, most_pieces(attrs));
}

int64_t key_floats(const llmh_attention_attrs& attrs) {
  return int64_t{attrs.n_kv_heads} * (attrs.k_head_dim + attrs.v_head_dim);
}

// What lies in the shared scratch, one part after the other.
struct Shared {
  int64_t first_items;  // bytes of [S + 1] i64
  int64_t cutoffs;
  int64_t delta;
  int64_t partials;

  int64_t bytes() const { return first_items + cutoffs + delta + partials; }
};

Shared shared_of(const llmh_attention_attrs& attrs, int64_t sequences, int64_t tokens, bool is_grad) {
  const int64_t heads = tokens * attrs.n_heads;
  const int64_t pieces = std::min(most_pieces(attrs), std::max<int64_t>(1, tokens / kLeastPiece));
  return {.first_items = to_line((sequences + 1) * int64_t{sizeof(int64_t)}),
          .cutoffs = has_top_k(attrs) ? to_line(heads * int64_t{sizeof(TrainCutoff)}) : 0,
          .delta = is_grad ? to_line(heads * int64_t{sizeof(float)}) : 0,
          .partials = is_grad ? (pieces - 1) * tokens * key_floats(attrs) * int64_t{sizeof(float)} : 0};
}

ScratchNeed need_of(const NodeView& view, const llmh_limits& limits, bool is_grad) {
  const auto attrs = llmh::node_attrs<llmh_attention_attrs>(*view.node);
  const int64_t floats =
      train_scratch_floats(attrs.k_head_dim, attrs.v_head_dim, limits.max_tokens, has_top_k(attrs));
  const Shared shared = shared_of(attrs, limits.max_sequences, limits.max_tokens, is_grad);
  return {.per_thread = static_cast<uint64_t>(floats) * sizeof(float),
          .shared = static_cast<uint64_t>(shared.bytes())};
}

ScratchNeed train_scratch(const NodeView& view, const llmh_limits& limits) {
  return need_of(view, limits, false);
}

ScratchNeed grad_scratch(const NodeView& view, const llmh_limits& limits) {
  return need_of(view, limits, true);
}

// One node in one step.
struct TrainJob {
  const RunContext& context;
  const TrainAttentionKernels& kernels;
  llmh_attention_attrs attrs;
  int64_t* first_items;
  TrainTask whole{};  // of all sequences: pointers at the step's first token
  float* partials = nullptr;

  const llmh_step& step() const { return context.step; }
  int64_t group() const { return attrs.n_heads / attrs.n_kv_heads; }
  int64_t first_token(int64_t sequence) const { return step().sequence_begin[sequence]; }
  int64_t tokens(int64_t sequence) const { return first_token(sequence + 1) - first_token(sequence); }

  TrainTask task_of(int64_t sequence, int64_t kv_head, int32_t thread) const;

  // body(sequence, item of the sequence, thread), the last items first; items(tokens) says how many one has.
  template <typename Items, typename Body>
  void for_items(const Items& items, const Body& body) const {
    first_items[0] = 0;
    for (int32_t s = 0; s < step().n_sequences; ++s) first_items[s + 1] = first_items[s] + items(tokens(s));
    const int64_t n = first_items[step().n_sequences];
    context.parallel(n, [&](int64_t i, int32_t thread) {
      const int64_t item = n - 1 - i;  // late rows see more keys: the longest work begins first
      const int64_t* after = std::upper_bound(first_items, first_items + step().n_sequences, item);
      const int64_t sequence = after - first_items - 1;
      body(sequence, item - first_items[sequence], thread);
    });
  }

  // run(task) for each key/value head and each `rows` rows of each sequence.
  template <typename Run>
  void for_blocks(int64_t rows, const Run& run) const {
    const auto items = [&](int64_t n) { return (n * group() + rows - 1) / rows * attrs.n_kv_heads; };
    for_items(items, [&](int64_t sequence, int64_t item, int32_t thread) {
      TrainTask task = task_of(sequence, item % attrs.n_kv_heads, thread);
      task.begin = item / attrs.n_kv_heads * rows;
      task.end = std::min(task.begin + rows, task.end);
      run(task);
    });
  }

  void run_grad() const;
  void place_keys(TrainTask& task, int64_t sequence, int64_t piece) const;
  void add_pieces(int64_t sequence, int64_t kv_head, int32_t thread) const;
  void set_piece(TrainTask& task, int64_t piece) const;
};

TrainTask TrainJob::task_of(int64_t sequence, int64_t kv_head, int32_t thread) const {
  const int64_t first = first_token(sequence);
  TrainTask task = whole;
  task.tokens = tokens(sequence);
  task.position = step().positions[first];
  task.kv_head = kv_head;
  task.begin = 0;
  task.end = task.tokens * group();
  task.scratch = context.thread_scratch(thread);
  task.q += first * attrs.n_heads * attrs.k_head_dim;
  task.k += first * attrs.n_kv_heads * attrs.k_head_dim;
  task.v += first * attrs.n_kv_heads * attrs.v_head_dim;
  if (task.cutoffs != nullptr) task.cutoffs += first * attrs.n_heads;
  task.out += first * attrs.n_heads * attrs.v_head_dim;
  task.lse += first * attrs.n_heads;
  if (task.dq == nullptr) return task;
  task.dout += first * attrs.n_heads * attrs.v_head_dim;
  task.delta += first * attrs.n_heads;
  task.dq += first * attrs.n_heads * attrs.k_head_dim;
  return task;
}

void TrainJob::set_piece(TrainTask& task, int64_t piece) const {
  const int64_t pieces = pieces_of(attrs, task.tokens);
  task.begin = task.tokens * piece / pieces * group();
  task.end = task.tokens * (piece + 1) / pieces * group();
}

// The last piece writes where the sums will be; piece p of a sequence has the p-th part of what is kept for
// it.
void TrainJob::place_keys(TrainTask& task, int64_t sequence, int64_t piece) const {
  const int64_t first = first_token(sequence);
  task.dk_stride = int64_t{attrs.n_kv_heads} * attrs.k_head_dim;
  task.dv_stride = int64_t{attrs.n_kv_heads} * attrs.v_head_dim;
  if (piece + 1 == pieces_of(attrs, task.tokens)) {
    task.dk = whole.dk + first * task.dk_stride;
    task.dv = whole.dv + first * task.dv_stride;
  } else {
    task.dk = partials + (piece * step().n_tokens + first) * key_floats(attrs);
    task.dv = task.dk + task.tokens * task.dk_stride;
  }
  task.dk += task.kv_head * attrs.k_head_dim;
  task.dv += task.kv_head * attrs.v_head_dim;
}

// target[key] = target[key] + part[key] for a range of keys; a key that has no target yet takes the part.
void add_keys(const RunContext& context, const KeyRange& range, const KeyRange& known, const float* part,
              float* target, int64_t stride, int64_t dim) {
  for (int64_t key = range.begin; key < range.end; ++key) {
    const float* from = part + key * stride;
    float* to = target + key * stride;
    if (key >= known.begin && key < known.end)
      context.kernels.elementwise.binary(BinaryOp::kAdd, to, 1, from, 1, dim, to);
    else
      std::copy_n(from, dim, to);
  }
}

// Pieces from the last to the first: each one's keys end before those of the next.
void TrainJob::add_pieces(int64_t sequence, int64_t kv_head, int32_t thread) const {
  TrainTask task = task_of(sequence, kv_head, thread);
  const int64_t pieces = pieces_of(attrs, task.tokens);
  set_piece(task, pieces - 1);
  place_keys(task, sequence, pieces - 1);
  float* dk = task.dk;
  float* dv = task.dv;
  KeyRange known = kernels.keys(task);
  for (int64_t piece = pieces - 2; piece >= 0; --piece) {
    set_piece(task, piece);
    place_keys(task, sequence, piece);
    const KeyRange range = kernels.keys(task);
    add_keys(context, range, known, task.dk, dk, task.dk_stride, attrs.k_head_dim);
    add_keys(context, range, known, task.dv, dv, task.dv_stride, attrs.v_head_dim);
    known = {std::min(known.begin, range.begin), std::max(known.end, range.end)};
  }
}

void TrainJob::run_grad() const {
  for_blocks(kTrainTask, kernels.delta);
  const auto items = [&](int64_t n) { return n == 0 ? 0 : pieces_of(attrs, n) * attrs.n_kv_heads; };
  for_items(items, [&](int64_t sequence, int64_t item, int32_t thread) {
    TrainTask task = task_of(sequence, item % attrs.n_kv_heads, thread);
    set_piece(task, item / attrs.n_kv_heads);
    place_keys(task, sequence, item / attrs.n_kv_heads);
    kernels.grad(task);
  });
  const auto cut = [&](int64_t n) { return pieces_of(attrs, n) > 1 ? attrs.n_kv_heads : 0; };
  for_items(
      cut, [&](int64_t sequence, int64_t kv_head, int32_t thread) { add_pieces(sequence, kv_head, thread); });
}

// The scratch of this step, which may be smaller than the largest.
TrainJob job_of(const RunContext& context, const Call& call, bool is_grad) {
  TrainJob job{.context = context,
               .kernels = context.kernels.train_attention,
               .attrs = llmh::node_attrs<llmh_attention_attrs>(*call.node),
               .first_items = nullptr};
  const Shared shared = shared_of(job.attrs, context.step.n_sequences, context.step.n_tokens, is_grad);
  uint8_t* place = context.shared_scratch();
  job.first_items = reinterpret_cast<int64_t*>(place);
  place += shared.first_items;
  job.whole.attrs = job.attrs;
  job.whole.q = context.floats(call.inputs[0]);
  job.whole.k = context.floats(call.inputs[1]);
  job.whole.v = context.floats(call.inputs[2]);
  job.whole.slopes = context.floats_or_null(call, 3);
  job.whole.sinks = context.floats_or_null(call, 4);
  if (shared.cutoffs > 0) job.whole.cutoffs = reinterpret_cast<TrainCutoff*>(place);
  place += shared.cutoffs;
  if (is_grad) job.whole.delta = reinterpret_cast<float*>(place);
  place += shared.delta;
  job.partials = reinterpret_cast<float*>(place);
  return job;
}

void run_train(const RunContext& context, const Call& call) {
  TrainJob job = job_of(context, call, false);
  job.whole.out = context.out(call.outputs[0]);
  job.whole.lse = context.out(call.outputs[1]);
  if (job.whole.cutoffs != nullptr) job.for_blocks(kTrainTask, job.kernels.cutoffs);
  job.for_blocks(kTrainTask, job.kernels.forward);
}

// A sink is a score without a value: its weight times what its share would have given.
void run_sinks_grad(const TrainJob& job, float* dsinks) {
  const int64_t heads = job.attrs.n_heads;
  for (int64_t head = 0; head < heads; ++head) {
    double sum = 0;
    if (job.whole.sinks != nullptr)
      for (int64_t at = head; at < job.step().n_tokens * heads; at += heads)
        if (std::isfinite(job.whole.lse[at]))
          sum -=
              static_cast<double>(std::exp(job.whole.sinks[head] - job.whole.lse[at]) * job.whole.delta[at]);
    dsinks[head] = static_cast<float>(sum);
  }
}

void run_grad(const RunContext& context, const Call& call) {
  TrainJob job = job_of(context, call, true);
  job.whole.out = context.out(call.inputs[5]);
  job.whole.lse = context.out(call.inputs[6]);
  job.whole.dout = context.floats(call.inputs[7]);
  job.whole.dq = context.out(call.outputs[0]);
  job.whole.dk = context.out(call.outputs[1]);
  job.whole.dv = context.out(call.outputs[2]);
  if (job.whole.cutoffs != nullptr) job.for_blocks(kTrainTask, job.kernels.cutoffs);
  job.run_grad();
  run_sinks_grad(job, context.out(call.outputs[3]));
}

constexpr OpEntry kEntries[] = {{LLMH_OP_ATTENTION_TRAIN, supports_train, run_train, train_scratch},
                                {LLMH_OP_ATTENTION_GRAD, supports_grad, run_grad, grad_scratch}};

}  // namespace

OpList train_attention_ops() {
  return {kEntries, std::size(kEntries)};
}

}  // namespace llmhost::cpu
