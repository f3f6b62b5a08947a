// EMBEDDING, GATHER and CAST: rows by index, and conversions between types.
#include <cmath>
#include <limits>
#include <string>

#include "kernels/half.h"
#include "ops/sites.h"

namespace llmhost::cpu {
namespace {

bool supports_gather(const NodeView& view) {
  if (view.node->n_inputs != 2 || view.input(1).dtype != LLMH_DTYPE_I32 || view.input(0).rank < 1)
    return false;
  const llmh_tensor_info& table = view.input(0);
  const llmh_dtype result = view.output(0).dtype;
  if (result == table.dtype) return llmh_dtype_layout_of(result).block_elements == 1 || is_decodable(table);
  return result == LLMH_DTYPE_F32 && is_decodable(table);
}

void run_gather(const RunContext& context, const Call& call) {
  const Shape table = context.shape(call.inputs[0]);
  const int32_t* ids = context.ints(call.inputs[1]);
  const int64_t n = context.shape(call.inputs[1]).count();
  const int64_t rows = table.dims[0];
  int64_t width = 1;
  for (int32_t i = 1; i < table.rank; ++i) width *= table.dims[i];
  for (int64_t i = 0; i < n; ++i)
    if (ids[i] < 0 || ids[i] >= rows)
      throw llmh::Error(LLMH_OUT_OF_RANGE, "[cpu] " + std::string(llmh::view(call.node->path)) + ": id " +
                                               std::to_string(ids[i]) + " at index " + std::to_string(i) +
                                               " is outside the table of " + std::to_string(rows) + " rows");
  const llmh_dtype_layout layout = llmh_dtype_layout_of(call.inputs[0].dtype);
  const int64_t row_bytes = width / layout.block_elements * layout.block_bytes;
  const uint8_t* source = context.data(call.inputs[0]);
  uint8_t* y = context.data(call.outputs[0]);
  const DecodeFn decode = call.outputs[0].dtype == call.inputs[0].dtype
                              ? nullptr
                              : context.kernels.decode.by_dtype[call.inputs[0].dtype];
  context.parallel_ranges(n, kGrain / (width + 1) + 1, [&](int64_t begin, int64_t end, int32_t) {
    for (int64_t i = begin; i < end; ++i) {
      const uint8_t* row = source + ids[i] * row_bytes;
      if (decode == nullptr)
        std::memcpy(y + i * row_bytes, row, static_cast<size_t>(row_bytes));
      else
        decode(row, width, reinterpret_cast<float*>(y) + i * width);
    }
  });
}

bool supports_site(const NodeView& view) {
  if (!supports_gather(view) || view.output(0).dtype != LLMH_DTYPE_F32 || view.input(0).rank != 2)
    return false;
  const llmh_tensor_info& ids = view.input(1);
  return ids.rank == 1 && ids.dims[0].symbol == LLMH_DIM_TOKENS && ids.dims[0].size == 1 &&
         llmh::node_attrs<llmh_site_attrs>(*view.node).adapter_site > 0;
}

void prepare_site(Call& call) {
  call.site.number = llmh::node_attrs<llmh_site_attrs>(*call.node).adapter_site;
}

// A column of A as f32.
ScratchNeed site_scratch(const NodeView&, const llmh_limits& limits) {
  return {.per_thread = low_rank_bytes(1, limits)};
}

// Row `row` of a matrix of a SiteDelta.
void load_row(const RunContext& context, llmh_dtype dtype, const uint8_t* matrix, int64_t row, int64_t width,
              float* out) {
  if (dtype == LLMH_DTYPE_F32)
    std::memcpy(out, matrix + row * width * 4, static_cast<size_t>(width) * sizeof(float));
  else
    context.kernels.decode.by_dtype[dtype](matrix + row * width * 2, width, out);
}

// One row of E' or E, and the low-rank change on top.
void adapt_row(const RunContext& context, const SiteDelta& delta, int64_t id, float* u, float* y) {
  const int64_t width = delta.out_features;
  if (delta.weight != nullptr) load_row(context, delta.weight_dtype, delta.weight, id, width, y);
  if (delta.rank == 0) return;
  load_row(context, delta.a_dtype, delta.a, id, delta.rank, u);
  const LowRankKernels& kernels = context.kernels.low_rank;
  const auto run = delta.b_dtype == LLMH_DTYPE_F32   ? kernels.f32
                   : delta.b_dtype == LLMH_DTYPE_F16 ? kernels.f16
                                                     : kernels.bf16;
  run({.b = delta.b,
       .u = u,
       .y = y,
       .rows = nullptr,
       .b_bias = nullptr,
       .row_scale = nullptr,
       .bias = nullptr,
       .new_bias = nullptr,
       .u_stride = delta.rank,
       .y_stride = width,
       .n_rows = 1,
       .columns = width,
       .rank = delta.rank,
       .scale = delta.scale});
}

void run_site(const RunContext& context, const Call& call) {
  run_gather(context, call);  // has seen that all ids are rows of the table
  if (!has_changes(context, call)) return;
  const int32_t* ids = context.ints(call.inputs[1]);
  float* y = context.out(call.outputs[0]);
  for_each_change(
      context, call.site.number, LLMH_DIM_TOKENS, [&](const SiteDelta& delta, std::span<const int32_t> rows) {
        const int64_t work = delta.out_features * (delta.rank + 1);
        context.parallel_ranges(static_cast<int64_t>(rows.size()), kGrain / work + 1,
                                [&](int64_t begin, int64_t end, int32_t thread) {
                                  for (const int32_t row : rows.subspan(static_cast<size_t>(begin),
                                                                        static_cast<size_t>(end - begin)))
                                    adapt_row(context, delta, ids[row], context.thread_scratch(thread),
                                              y + row * delta.out_features);
                                });
      });
}

double load_number(llmh_dtype dtype, const uint8_t* p) {
  switch (dtype) {
    case LLMH_DTYPE_F32:
      return static_cast<double>(load_as<float>(p));
    case LLMH_DTYPE_F16:
      return static_cast<double>(load_f16(p));
    case LLMH_DTYPE_BF16:
      return static_cast<double>(bf16_to_f32(load_as<uint16_t>(p)));
    case LLMH_DTYPE_F64:
      return load_as<double>(p);
    case LLMH_DTYPE_I8:
      return load_as<int8_t>(p);
    case LLMH_DTYPE_I16:
      return load_as<int16_t>(p);
    case LLMH_DTYPE_I32:
      return load_as<int32_t>(p);
    case LLMH_DTYPE_I64:
      return static_cast<double>(load_as<int64_t>(p));
    default:
      return *p;
  }
}

// Truncates towards zero and saturates; NaN becomes 0.
template <typename T>
void store_integer(uint8_t* p, double value) {
  T result = 0;
  if (value >= static_cast<double>(std::numeric_limits<T>::max()))
    result = std::numeric_limits<T>::max();
  else if (value <= static_cast<double>(std::numeric_limits<T>::min()))
    result = std::numeric_limits<T>::min();
  else if (!std::isnan(value))
    result = static_cast<T>(value);
  std::memcpy(p, &result, sizeof result);
}

template <typename T>
void store_as(uint8_t* p, T value) {
  std::memcpy(p, &value, sizeof value);
}

void store_number(llmh_dtype dtype, uint8_t* p, double value) {
  switch (dtype) {
    case LLMH_DTYPE_F32:
      return store_as(p, static_cast<float>(value));
    case LLMH_DTYPE_F16:
      return store_as(p, f32_to_f16(static_cast<float>(value)));
    case LLMH_DTYPE_BF16:
      return store_as(p, f32_to_bf16(static_cast<float>(value)));
    case LLMH_DTYPE_F64:
      return store_as(p, value);
    case LLMH_DTYPE_I8:
      return store_integer<int8_t>(p, value);
    case LLMH_DTYPE_I16:
      return store_integer<int16_t>(p, value);
    case LLMH_DTYPE_I32:
      return store_integer<int32_t>(p, value);
    case LLMH_DTYPE_I64:
      return store_integer<int64_t>(p, value);
    case LLMH_DTYPE_U8:
      return store_integer<uint8_t>(p, value);
    default:
      return store_as<uint8_t>(p, value != 0.0 ? 1 : 0);  // bool
  }
}

bool supports_cast(const NodeView& view) {
  const llmh_dtype from = view.input(0).dtype;
  const llmh_dtype to = view.output(0).dtype;
  if (llmh_dtype_layout_of(to).block_elements != 1) return false;
  if (llmh_dtype_layout_of(from).block_elements == 1) return true;
  return to == LLMH_DTYPE_F32 && is_decodable(view.input(0));
}

void run_cast(const RunContext& context, const Call& call) {
  const llmh_dtype from = call.inputs[0].dtype;
  const llmh_dtype to = call.outputs[0].dtype;
  const llmh_dtype_layout layout = llmh_dtype_layout_of(from);
  const int64_t blocks = context.shape(call.inputs[0]).count() / layout.block_elements;
  const int64_t block = layout.block_elements;
  const int64_t out_size = llmh_dtype_layout_of(to).block_bytes;
  const uint8_t* x = context.data(call.inputs[0]);
  uint8_t* y = context.data(call.outputs[0]);
  const DecodeFn decode = to == LLMH_DTYPE_F32 ? context.kernels.decode.by_dtype[from] : nullptr;
  context.parallel_ranges(blocks, kGrain / block + 1, [&](int64_t begin, int64_t end, int32_t) {
    const uint8_t* source = x + begin * layout.block_bytes;
    uint8_t* target = y + begin * block * out_size;
    if (from == to) {
      std::memcpy(target, source, static_cast<size_t>((end - begin) * out_size));
    } else if (decode != nullptr) {
      decode(source, (end - begin) * block, reinterpret_cast<float*>(target));
    } else if (from == LLMH_DTYPE_F32 && (to == LLMH_DTYPE_BF16 || to == LLMH_DTYPE_F16)) {
      const auto round =
          to == LLMH_DTYPE_BF16 ? context.kernels.dense.round_bf16 : context.kernels.elementwise.round_f16;
      round(reinterpret_cast<const float*>(source), end - begin, reinterpret_cast<uint16_t*>(target));
    } else {
      for (int64_t i = 0; i < end - begin; ++i)
        store_number(to, target + i * out_size, load_number(from, source + i * layout.block_bytes));
    }
  });
}

constexpr OpEntry kEntries[] = {
    {LLMH_OP_EMBEDDING, supports_gather, run_gather},
    {LLMH_OP_LORA_EMBEDDING, supports_site, run_site, site_scratch, prepare_site},
    {LLMH_OP_GATHER, supports_gather, run_gather},
    {.op = LLMH_OP_CAST, .supports = supports_cast, .run = run_cast, .is_row_wise = true},
    {.op = LLMH_OP_DETACH, .supports = supports_cast, .run = run_cast, .is_row_wise = true},
};

}  // namespace

OpList table_ops() {
  return {kEntries, std::size(kEntries)};
}

}  // namespace llmhost::cpu
