#include "ops/product.h"

#include <algorithm>

namespace llmhost::cpu {

Product::Product(const RunContext& context, const Operand& weight, int64_t matrix, const float* x,
                 const RoundedInput& rounded, Form form, const ProductRows& rows)
    : form_(form), n_rows_(weight.dims[weight.rank - 2].size) {
  const int64_t depth = weight.dims[weight.rank - 1].size;
  if (form == Form::kInt8) {
    const PackedFormat& format = context.kernels.packed.by_dtype[weight.dtype];
    unit_bytes_ = format.group_bytes(depth);
    multiply_ = format.multiply;
    packed_ = {.weights = weight.weight->packed.data + matrix * units_of(weight) * unit_bytes_,
               .x = rounded.int8_rows(context),
               .bias = rows.bias,
               .y = rows.y,
               .x_rows = rows.x_rows,
               .y_rows = rows.y_rows,
               .x_stride = rounded.int8_stride(),
               .y_stride = n_rows_,
               .tokens = rows.tokens,
               .rows = n_rows_,
               .depth = depth};
    return;
  }
  const bool is_bf16 = form == Form::kBf16;
  const LinearTile tile = {.x = is_bf16 ? static_cast<const void*>(rounded.bf16_rows(context)) : x,
                           .w = nullptr,
                           .bias = rows.bias,
                           .y = rows.y,
                           .x_rows = rows.x_rows,
                           .y_rows = rows.y_rows,
                           .x_stride = is_bf16 ? rounded.bf16_stride() : depth,
                           .w_stride = 0,
                           .y_stride = n_rows_,
                           .tokens = rows.tokens,
                           .rows = 0,
                           .depth = depth};
  stored_ = linear_job(context, weight, tile);
  if (is_bf16) stored_.multiply = context.kernels.dense.bf16_native;
  stored_.weight += matrix * n_rows_ * stored_.row_bytes;
}

void Product::run(int64_t begin, int64_t end, float* scratch) const {
  const int64_t first = begin * kPackedRows;
  const int64_t last = std::min(n_rows_, end * kPackedRows);
  if (form_ == Form::kInt8) {
    PackedTile tile = packed_;
    tile.weights += begin * unit_bytes_;
    tile.rows = last - first;
    tile.y += first;
    if (tile.bias != nullptr) tile.bias += first;
    multiply_(tile);
    return;
  }
  stored_.run_rows(first, last, scratch);
}

int64_t Product::piece_units(int64_t all_units, int64_t depth, int64_t tokens, int32_t n_threads) {
  if (n_threads == 1) return std::max<int64_t>(1, all_units);
  constexpr int64_t kPieceWork = 512 * 1024;  // multiplications; about two microseconds
  constexpr int64_t kPiecesEach = 8;          // of a thread
  constexpr int64_t kStreamed = 8;  // tokens that a weight meets in the time that it takes to arrive
  const int64_t unit_work = std::max<int64_t>(1, kPackedRows * depth * std::max(tokens, kStreamed));
  const int64_t fair = all_units / (kPiecesEach * n_threads);
  const int64_t units = std::max({int64_t{1}, fair, kPieceWork / unit_work});
  return tokens > 1 ? (units + 1) / 2 * 2 : units;
}

}  // namespace llmhost::cpu
