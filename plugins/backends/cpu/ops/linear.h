// What LINEAR and EXPERT_LINEAR share: rows of a weight, decoded in groups that stay in a cache while every
// row of x is multiplied with them.
#pragma once

#include <algorithm>

#include "ops/op.h"

namespace llmhost::cpu {

constexpr int64_t kFewTokens = 4;
constexpr int64_t kFewRows = 8;                       // decoded rows stay in the first-level cache
constexpr int64_t kDecodedFloats = (256 * 1024) / 4;  // many tokens: in the second-level cache

// At least one vector, so that it may be divided by.
inline int64_t row_floats(int64_t depth) {
  return padded_lanes(std::max<int64_t>(depth, 1));
}

// Scratch for the decoded rows of a group, in bytes a thread.
inline uint64_t decoded_bytes(const llmh_tensor_info& weight) {
  const int64_t depth = std::max<int64_t>(constant_size(weight.dims[weight.rank - 1]), 0);
  return static_cast<uint64_t>(std::max(kDecodedFloats, kFewRows * row_floats(depth))) * sizeof(float);
}

// Rows of a weight that are decoded together.
inline int64_t group_rows(int64_t tokens, int64_t depth) {
  if (tokens <= kFewTokens) return kFewRows;
  return std::clamp<int64_t>(kDecodedFloats / row_floats(depth), kFewRows, 64) / 4 * 4;
}

// Some rows of x times a matrix [rows, depth] of any stored type.
struct LinearJob {
  LinearTile tile;  // for all rows of the matrix; w and its stride are filled in for a group
  const uint8_t* weight;
  int64_t row_bytes;
  DecodeFn decode;  // null: rows are multiplied in place
  void (*multiply)(const LinearTile& tile);

  // The rows [begin, end) of the matrix.
  void run_group(int64_t begin, int64_t end, float* scratch) const {
    LinearTile part = tile;
    part.rows = end - begin;
    part.y = tile.y + begin;
    if (tile.bias != nullptr) part.bias = tile.bias + begin;
    const uint8_t* source = weight + begin * row_bytes;
    if (decode == nullptr) {
      part.w = source;
      part.w_stride = tile.depth;
    } else {
      part.w = scratch;
      part.w_stride = row_floats(tile.depth);
      part.w_cached = true;
      for (int64_t r = 0; r < part.rows; ++r)
        decode(source + r * row_bytes, tile.depth, scratch + r * part.w_stride);
    }
    multiply(part);
  }

  // The same in groups that fit into `scratch`.
  void run_rows(int64_t begin, int64_t end, float* scratch) const {
    const int64_t group = decode == nullptr ? end - begin : group_rows(tile.tokens, tile.depth);
    for (int64_t row = begin; row < end; row += group) run_group(row, std::min(end, row + group), scratch);
  }
};

inline LinearJob linear_job(const RunContext& context, const Operand& weight, const LinearTile& tile) {
  const llmh_dtype_layout layout = llmh_dtype_layout_of(weight.dtype);
  LinearJob job{};
  job.tile = tile;
  job.weight = context.data(weight);
  job.row_bytes = tile.depth / layout.block_elements * layout.block_bytes;
  const DenseKernels& dense = context.kernels.dense;
  job.multiply = weight.dtype == LLMH_DTYPE_F16    ? dense.f16
                 : weight.dtype == LLMH_DTYPE_BF16 ? dense.bf16
                                                   : dense.f32;
  const bool in_place = weight.dtype == LLMH_DTYPE_F32 || job.multiply != dense.f32;
  if (!in_place) job.decode = context.kernels.decode.by_dtype[weight.dtype];
  return job;
}

}  // namespace llmhost::cpu
