#include "ops/sites.h"

#include <string>

namespace llmhost::cpu {
namespace {

using Multiply = void (*)(const LinearTile& tile);

Multiply multiply_of(const RunContext& context, llmh_dtype dtype) {
  const DenseKernels& dense = context.kernels.dense;
  if (dtype == LLMH_DTYPE_F32) return dense.f32;
  return dtype == LLMH_DTYPE_F16 ? dense.f16 : dense.bf16;
}

int64_t element_bytes(llmh_dtype dtype) {
  return dtype == LLMH_DTYPE_F32 ? 4 : 2;
}

// Row 0 of the step, whatever the context shows.
const float* first_row(const RunContext& context, const Operand& x) {
  const int64_t depth = x.dims[1].size;
  return context.floats(x) - (context.window().symbol == x.row_symbol ? context.window().begin * depth : 0);
}

float* low_rank_rows(const RunContext& context, const Call& call) {
  return reinterpret_cast<float*>(context.shared_scratch() + call.site.scratch);
}

void shrink_rows(const RunContext& context, const Call& call, const SiteDelta& delta,
                 std::span<const int32_t> rows) {
  if (delta.rank == 0) return;
  const int64_t depth = delta.in_features;
  multiply_of(context, delta.a_dtype)({.x = first_row(context, call.inputs[0]),
                                       .w = delta.a,
                                       .bias = nullptr,
                                       .y = low_rank_rows(context, call),
                                       .x_rows = rows.data(),
                                       .y_rows = rows.data(),
                                       .x_stride = depth,
                                       .w_stride = depth,
                                       .y_stride = call.site.stride,
                                       .tokens = static_cast<int64_t>(rows.size()),
                                       .rows = delta.rank,
                                       .depth = depth});
}

// Columns [begin, end) of the rows' products with the adapter's own weight, without a bias.
void multiply_own(const RunContext& context, const Call& call, const SiteDelta& delta,
                  std::span<const int32_t> rows, int64_t begin, int64_t end) {
  const int64_t depth = delta.in_features;
  multiply_of(context,
              delta.weight_dtype)({.x = first_row(context, call.inputs[0]),
                                   .w = delta.weight + begin * depth * element_bytes(delta.weight_dtype),
                                   .bias = nullptr,
                                   .y = context.out(call.outputs[0]) + begin,
                                   .x_rows = rows.data(),
                                   .y_rows = rows.data(),
                                   .x_stride = depth,
                                   .w_stride = depth,
                                   .y_stride = delta.out_features,
                                   .tokens = static_cast<int64_t>(rows.size()),
                                   .rows = end - begin,
                                   .depth = depth});
}

// Onto rows that hold the product with the base's weight or, where the adapter has one, its own.
void expand_rows(const RunContext& context, const Call& call, const SiteDelta& delta,
                 std::span<const int32_t> rows, int64_t begin, int64_t end) {
  const float* bias = context.floats_or_null(call, 2);
  const auto from_begin = [begin](const float* values) {
    return values == nullptr ? nullptr : values + begin;
  };
  LowRankTile tile{.b = delta.b + begin * delta.rank * element_bytes(delta.b_dtype),
                   .u = low_rank_rows(context, call),
                   .y = context.out(call.outputs[0]) + begin,
                   .rows = rows.data(),
                   .b_bias = from_begin(delta.b_bias),
                   .row_scale = from_begin(delta.row_scale),
                   .bias = from_begin(bias),
                   .new_bias = from_begin(delta.bias),
                   .u_stride = call.site.stride,
                   .y_stride = delta.out_features,
                   .n_rows = static_cast<int64_t>(rows.size()),
                   .columns = end - begin,
                   .rank = delta.rank,
                   .scale = delta.scale};
  if (delta.weight != nullptr) {
    if (tile.new_bias == nullptr) tile.new_bias = tile.bias;
    tile.bias = nullptr;
  }
  const LowRankKernels& kernels = context.kernels.low_rank;
  const auto run = delta.b_dtype == LLMH_DTYPE_F32   ? kernels.f32
                   : delta.b_dtype == LLMH_DTYPE_F16 ? kernels.f16
                                                     : kernels.bf16;
  run(tile);
}

// The processor's own prefetching does not know where the next adapter lies.
void fetch_b(const llmh_adapter& adapter, int32_t site, int64_t begin, int64_t end) {
  const SiteDelta* delta = adapter.find(site);
  if (delta == nullptr || delta->rank == 0) return;
  const int64_t column_bytes = delta->rank * element_bytes(delta->b_dtype);
  const uint8_t* first = delta->b + begin * column_bytes;
  const int64_t bytes = std::min<int64_t>((end - begin) * column_bytes, kLowRankAhead);
  for (int64_t line = 0; line < bytes; line += 64) __builtin_prefetch(first + line);
}

// --- Rows in blocks

constexpr int64_t kBlockRows = 12;      // two tiles of a dense product
constexpr int32_t kBlocksOfThread = 2;  // from so many on, threads share the rows instead of the columns

int64_t blocks_of(const llmh_adapter_segment& segment, int32_t symbol) {
  const int64_t n = symbol == LLMH_DIM_OUTPUTS ? segment.n_output_rows : segment.n_token_rows;
  return (n + kBlockRows - 1) / kBlockRows;
}

int64_t count_blocks(const RunContext& context, int32_t symbol) {
  int64_t n = 0;
  for (int32_t i = 0; i < context.step.n_adapter_segments; ++i)
    n += blocks_of(context.step.adapter_segments[i], symbol);
  return n;
}

// --- Checks

void check_rows(const int32_t* rows, int32_t n, int32_t most) {
  int32_t previous = -1;
  for (int32_t i = 0; i < n; ++i) {
    if (rows[i] <= previous || rows[i] >= most)
      throw llmh::Error(LLMH_OUT_OF_RANGE,
                        "[cpu] the rows of an adapter are not ascending and below " + std::to_string(most));
    previous = rows[i];
  }
}

struct SiteShape {
  int32_t kind;
  int64_t in_features;
  int64_t out_features;
};

SiteShape shape_of(const Call& call) {
  switch (call.node->op) {
    case LLMH_OP_LORA_LINEAR:
      return {LLMH_MODULE_LINEAR, call.inputs[1].dims[1].size, call.inputs[1].dims[0].size};
    case LLMH_OP_LORA_EMBEDDING:
      return {LLMH_MODULE_EMBEDDING, call.inputs[0].dims[0].size, call.inputs[0].dims[1].size};
    default: {
      const int64_t width = call.inputs[0].dims[call.inputs[0].rank - 1].size;
      return {LLMH_MODULE_NORM, width, width};
    }
  }
}

bool takes_bias(llmh_op op) {
  return op != LLMH_OP_RMS_NORM && op != LLMH_OP_ADD_RMS_NORM;
}

void check_fit(const llmh_adapter& adapter, std::span<const Call> calls) {
  for (const Call& call : calls) {
    if (call.site.number == 0) continue;
    const SiteDelta* delta = adapter.find(call.site.number);
    if (delta == nullptr) continue;
    if (delta->bias != nullptr && !takes_bias(call.node->op))
      throw llmh::Error(LLMH_INVALID_ARGUMENT, "[cpu] an adapter's change for '" +
                                                   std::string(llmh::view(call.node->path)) +
                                                   "' has a bias, the norm has not");
    const SiteShape shape = shape_of(call);
    if (delta->kind != shape.kind || delta->in_features != shape.in_features ||
        delta->out_features != shape.out_features)
      throw llmh::Error(LLMH_INVALID_ARGUMENT,
                        "[cpu] an adapter's change for '" + std::string(llmh::view(call.node->path)) +
                            "' is of kind " + std::to_string(delta->kind) + " for " +
                            std::to_string(delta->in_features) + " to " +
                            std::to_string(delta->out_features) + " features; the module is of kind " +
                            std::to_string(shape.kind) + " with " + std::to_string(shape.in_features) +
                            " to " + std::to_string(shape.out_features));
  }
}

}  // namespace

void shrink(const RunContext& context, std::span<const Call* const> products) {
  const llmh_step& step = context.step;
  const int32_t symbol = products[0]->inputs[0].row_symbol;
  for (int32_t i = 0; i < step.n_adapter_segments; ++i) {
    const auto rows = rows_of(context, step.adapter_segments[i], symbol);
    if (rows.empty()) continue;
    const llmh_adapter& adapter = *step.adapter_segments[i].adapter;
    for (const Call* call : products) {
      const SiteDelta* delta = call->site.number == 0 ? nullptr : adapter.find(call->site.number);
      if (delta != nullptr) shrink_rows(context, *call, *delta, rows);
    }
  }
}

void expand(const RunContext& context, const Call& call, int64_t begin, int64_t end) {
  const llmh_step& step = context.step;
  const int32_t site = call.site.number;
  const bool is_by_rows = changes_by_rows(context, call.inputs[0].row_symbol);
  for (int32_t i = 0; i < step.n_adapter_segments; ++i) {
    if (!is_by_rows && i + 4 < step.n_adapter_segments) step.adapter_segments[i + 4].adapter->fetch(site);
    if (!is_by_rows && i + 2 < step.n_adapter_segments)
      fetch_b(*step.adapter_segments[i + 2].adapter, site, begin, end);
    const llmh_adapter_segment& segment = step.adapter_segments[i];
    const SiteDelta* delta = segment.adapter->find(site);
    if (delta == nullptr) continue;
    const auto rows = rows_of(context, segment, call.inputs[0].row_symbol);
    if (rows.empty()) continue;
    if (delta->weight != nullptr) multiply_own(context, call, *delta, rows, begin, end);
    if (!is_by_rows) expand_rows(context, call, *delta, rows, begin, end);
  }
}

bool changes_by_rows(const RunContext& context, int32_t symbol) {
  return count_blocks(context, symbol) >= int64_t{kBlocksOfThread} * context.n_threads();
}

// What an adapter has for the products lies one after the other: each thread reads it as one stream.
void change_rows(const RunContext& context, std::span<const Call* const> products) {
  const int32_t symbol = products[0]->inputs[0].row_symbol;
  context.parallel(count_blocks(context, symbol), [&](int64_t item, int32_t) {
    const llmh_adapter_segment* segment = context.step.adapter_segments;
    for (; item >= blocks_of(*segment, symbol); ++segment) item -= blocks_of(*segment, symbol);
    const auto all = rows_of(context, *segment, symbol).subspan(static_cast<size_t>(item * kBlockRows));
    const auto rows = all.first(std::min<size_t>(all.size(), kBlockRows));
    for (const Call* call : products) {
      const SiteDelta* delta = call->site.number == 0 ? nullptr : segment->adapter->find(call->site.number);
      if (delta == nullptr) continue;
      shrink_rows(context, *call, *delta, rows);
      expand_rows(context, *call, *delta, rows, 0, delta->out_features);
    }
  });
}

void check_segments(const llmh_step& step, const llmh_limits& limits, std::span<const Call> calls,
                    std::span<uint64_t> checked) {
  for (int32_t i = 0; i < step.n_adapter_segments; ++i) {
    const llmh_adapter_segment& segment = step.adapter_segments[i];
    const llmh_adapter& adapter = *segment.adapter;
    check_rows(segment.token_rows, segment.n_token_rows, step.n_tokens);
    check_rows(segment.output_rows, segment.n_output_rows, step.n_outputs);
    uint64_t& known = checked[adapter.id % checked.size()];
    if (known == adapter.id) continue;
    if (adapter.max_rank > limits.max_adapter_rank || limits.max_adapter_rank < 1)
      throw llmh::Error(LLMH_OUT_OF_RANGE, "[cpu] an adapter of rank " + std::to_string(adapter.max_rank) +
                                               "; the program was compiled for " +
                                               std::to_string(limits.max_adapter_rank));
    check_fit(adapter, calls);
    known = adapter.id;
  }
}

}  // namespace llmhost::cpu
