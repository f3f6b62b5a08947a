// LINEAR_CROSS_ENTROPY: rows that have a label in blocks, the vocabulary in spans, as many as its size says;
// what the spans found of a row is put together at the end.
#include <algorithm>
#include <cmath>

#include "ops/head_tile.h"
#include "ops/labels.h"
#include "ops/linear.h"
#include "ops/rows.h"

namespace llmhost::cpu {
namespace {

constexpr int64_t kSpan = 16384;  // of the vocabulary: what is worth a part of its own
constexpr int64_t kMostSpans = 4;
constexpr int64_t kMostRows = 1024;  // that are worked on at once
constexpr int64_t kLeastBlock = 56;  // rows for which packing a tile is worth it

int64_t round_up(int64_t value, int64_t unit) {
  return (value + unit - 1) / unit * unit;
}

// Of a vocabulary; results depend on them.
struct Spans {
  int64_t n;
  int64_t size;

  Spans(int64_t vocabulary, int64_t depth) {
    n = std::clamp<int64_t>(vocabulary / kSpan, 1, kMostSpans);
    size = round_up((vocabulary + n - 1) / n, head_tile(depth));
    n = (vocabulary + size - 1) / size;
  }
};

// In the shared scratch: which rows have a label, and what each span found of the rows at work.
struct Found {
  int32_t* rows;
  float* label_logits;  // [kMostRows]
  RowSums* sums;        // [spans][kMostRows]
  float* dx;            // [spans][kMostRows][depth]

  Found(uint8_t* memory, int64_t most_rows, const Spans& spans) {
    rows = reinterpret_cast<int32_t*>(memory);
    memory += round_up(4 * most_rows, 64);
    label_logits = reinterpret_cast<float*>(memory);
    memory += 4 * kMostRows;
    sums = reinterpret_cast<RowSums*>(memory);
    memory += spans.n * kMostRows * static_cast<int64_t>(sizeof(RowSums));
    dx = reinterpret_cast<float*>(memory);
  }
  static uint64_t bytes(int64_t most_rows, const Spans& spans, int64_t depth) {
    const int64_t of_row = static_cast<int64_t>(sizeof(RowSums)) + 4 * depth;
    const int64_t at_work = std::min(most_rows, kMostRows);
    return static_cast<uint64_t>(round_up(4 * most_rows, 64) + 4 * kMostRows +
                                 spans.n * kMostRows * static_cast<int64_t>(sizeof(RowSums)) +
                                 spans.n * at_work * of_row);
  }
};

bool supports_head(const NodeView& view) {
  if (view.node->n_inputs != 4 || view.node->n_outputs != 2) return false;
  const llmh_tensor_info& weight = view.input(1);
  if (view.input(0).dtype != LLMH_DTYPE_F32 || view.input(0).rank != 2 ||
      view.input(3).dtype != LLMH_DTYPE_I32)
    return false;
  if (view.has_input(2) && view.input(2).dtype != LLMH_DTYPE_F32) return false;
  return weight.rank == 2 && is_decodable(weight) && constant_size(weight.dims[0]) >= 0 &&
         constant_size(weight.dims[1]) >= 0;
}

ScratchNeed head_scratch(const NodeView& view, const llmh_limits& limits) {
  const llmh_tensor_info& weight = view.input(1);
  const int64_t depth = weight.dims[1].size;
  const int64_t rows = largest_size(view.input(0).dims[0], limits);
  return {.per_thread = head_scratch_bytes(depth),
          .shared = Found::bytes(rows, Spans(weight.dims[0].size, depth), depth)};
}

Head head_of(const RunContext& context, const Call& call, const int32_t* rows, int64_t n_rows) {
  const auto attrs = llmh::node_attrs<llmh_head_attrs>(*call.node);
  Head head;
  head.vocabulary = call.inputs[1].dims[0].size;
  head.depth = call.inputs[1].dims[1].size;
  head.x = {context.floats(call.inputs[0]), rows, head.depth, n_rows};
  head.weight = right_of(context, call.inputs[1], 0, false);
  head.bias = context.floats_or_null(call, 2);
  head.value = attrs.value == 0 ? 1 : attrs.value;
  head.cap = attrs.softcap;
  head.is_bf16 = call.form == Form::kBlockedBf16;
  return head;
}

// Loss and dx of a row at work, from what the spans found.
struct Merge {
  const Head& head;
  const Found& found;
  const Spans& spans;
  const int32_t* labels;
  float* loss;
  float* dx;

  void run(int64_t first, int64_t row, float* memory) const {
    const int32_t place = found.rows[first + row];
    float largest = found.sums[row].largest;
    for (int64_t s = 1; s < spans.n; ++s)
      largest = std::max(largest, found.sums[s * kMostRows + row].largest);
    const auto share = [&](int64_t s) {
      const float own = found.sums[s * kMostRows + row].largest;
      return std::exp(static_cast<double>(own) - static_cast<double>(largest));
    };
    double sum = 0;
    for (int64_t s = 0; s < spans.n; ++s) sum += share(s) * found.sums[s * kMostRows + row].sum;
    const float label = found.label_logits[row];
    loss[place] = loss_of(largest, sum, label);
    const float capped = head.cap == 0 ? 0 : label / head.cap;
    const float slope = head.value * (1 - capped * capped);
    const float* w = head.weight.row(labels[place], 0, head.depth, memory);
    float* out = dx + place * head.depth;
    for (int64_t i = 0; i < head.depth; ++i) out[i] = -slope * w[i];
    for (int64_t s = 0; s < spans.n; ++s) {
      const auto factor = static_cast<float>(share(s) / sum * static_cast<double>(head.value));
      const float* part = found.dx + (s * kMostRows + row) * head.depth;
      for (int64_t i = 0; i < head.depth; ++i) out[i] += factor * part[i];
    }
  }
};

// Rows [first, first + n) of those that have a label.
void run_rows(const RunContext& context, const Head& head, const Merge& merge, int64_t first, int64_t n) {
  constexpr int64_t kPiecesEach = 3;  // of a thread
  const Spans& spans = merge.spans;
  const Found& found = merge.found;
  const int64_t wanted = (kPiecesEach * context.n_threads() + spans.n - 1) / spans.n;
  const int64_t useful = std::min<int64_t>(wanted, n / kLeastBlock);
  const int64_t blocks = std::max((n + kMostHeadRows - 1) / kMostHeadRows, useful);
  const int64_t block = (n + blocks - 1) / blocks;
  context.parallel(blocks * spans.n, [&](int64_t item, int32_t thread) {
    const int64_t span = item / blocks;
    const int64_t row = item % blocks * block;
    if (row >= n) return;
    const int64_t place = span * kMostRows + row;
    run_head_part(context.kernels, head,
                  {.row = first + row,
                   .n_rows = std::min(block, n - row),
                   .begin = span * spans.size,
                   .end = std::min((span + 1) * spans.size, head.vocabulary),
                   .labels = merge.labels,
                   .sums = found.sums + place,
                   .label_logits = found.label_logits + row,
                   .dx = found.dx + place * head.depth},
                  context.thread_scratch(thread));
  });
  context.parallel_ranges(n, kGrain / (head.depth * spans.n + 1) + 1,
                          [&](int64_t begin, int64_t end, int32_t thread) {
                            for (int64_t row = begin; row < end; ++row)
                              merge.run(first, row, context.thread_scratch(thread));
                          });
}

void run_head(const RunContext& context, const Call& call) {
  const int64_t n_rows = context.shape(call.inputs[0]).dims[0];
  const int64_t vocabulary = call.inputs[1].dims[0].size;
  const int64_t depth = call.inputs[1].dims[1].size;
  const int32_t* labels = checked_labels(context, call, 3, n_rows, vocabulary);
  const Spans spans(vocabulary, depth);
  const Found found(context.shared_scratch(), n_rows, spans);
  float* loss = context.out(call.outputs[0]);
  float* dx = context.out(call.outputs[1]);
  int64_t n = 0;
  for (int64_t row = 0; row < n_rows; ++row) {
    if (labels[row] != kNoLabel) {
      found.rows[n++] = static_cast<int32_t>(row);
      continue;
    }
    loss[row] = 0;
    std::fill_n(dx + row * depth, depth, 0.0F);
  }
  const Head head = head_of(context, call, found.rows, n);
  const Merge merge{head, found, spans, labels, loss, dx};
  for (int64_t first = 0; first < n; first += kMostRows)
    run_rows(context, head, merge, first, std::min(kMostRows, n - first));
}

constexpr OpEntry kEntries[] = {{.op = LLMH_OP_LINEAR_CROSS_ENTROPY,
                                 .supports = supports_head,
                                 .run = run_head,
                                 .scratch = head_scratch,
                                 .multiplies_blocks = true}};

}  // namespace

OpList head_loss_ops() {
  return {kEntries, std::size(kEntries)};
}

}  // namespace llmhost::cpu
