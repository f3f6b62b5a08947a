#include "ops/gemm.h"

namespace llmhost::cpu {

const uint8_t* GemmRight::stored(int64_t index, int64_t begin) const {
  if (rows != nullptr) index = rows[index];
  return data + index * row_bytes + begin / block * block_bytes;
}

bool GemmRight::has_pairs() const {
  constexpr int64_t kPair = 4;
  return is_bf16 && row_bytes % kPair == 0 && reinterpret_cast<uintptr_t>(data) % kPair == 0;
}

GemmRows GemmRight::pairs(int64_t index, int64_t begin, int64_t n) const {
  return {reinterpret_cast<const float*>(stored(index, begin)), nullptr, row_elements / 2, n};
}

const float* GemmRight::row(int64_t index, int64_t begin, int64_t n, float* memory) const {
  if (unpack != nullptr) {
    if (rows != nullptr) index = rows[index];
    unpack(data + index / kPackedRows * row_bytes, index % kPackedRows, row_elements, memory);
    return memory + begin;
  }
  const uint8_t* source = stored(index, begin);
  if (decode == nullptr) return reinterpret_cast<const float*>(source);
  decode(source, n, memory);
  return memory;
}

GemmRight right_of(const RunContext& context, const Operand& operand, int64_t matrix, bool is_deep) {
  const llmh_dtype_layout layout = llmh_dtype_layout_of(operand.dtype);
  const int64_t n_rows = operand.dims[operand.rank - 2].size;
  GemmRight right;
  right.row_elements = operand.dims[operand.rank - 1].size;
  right.block = layout.block_elements;
  right.block_bytes = layout.block_bytes;
  right.is_deep = is_deep;
  if (operand.weight != nullptr && operand.weight->data == nullptr &&
      operand.weight->packed.data != nullptr) {
    const PackedFormat& format = context.kernels.packed.by_dtype[operand.dtype];
    right.unpack = format.unpack_row;
    right.row_bytes = format.group_bytes(right.row_elements);
    right.data =
        operand.weight->packed.data + matrix * ((n_rows + kPackedRows - 1) / kPackedRows) * right.row_bytes;
    return right;
  }
  right.row_bytes = right.row_elements / right.block * right.block_bytes;
  right.data = context.data(operand) + matrix * n_rows * right.row_bytes;
  const bool is_aligned = reinterpret_cast<uintptr_t>(right.data) % alignof(float) == 0;
  if (operand.dtype != LLMH_DTYPE_F32 || !is_aligned)
    right.decode = context.kernels.decode.by_dtype[operand.dtype];
  right.is_bf16 = operand.dtype == LLMH_DTYPE_BF16;
  return right;
}

GemmRight right_of(const GemmRows& rows) {
  GemmRight right;
  right.data = reinterpret_cast<const uint8_t*>(rows.x);
  right.rows = rows.rows;
  right.row_elements = rows.stride;
  right.row_bytes = rows.stride * static_cast<int64_t>(sizeof(float));
  right.block_bytes = sizeof(float);
  right.is_deep = true;
  return right;
}

// Of a result of few columns the transpose is made.
Gemm weight_gradient(const GemmRows& dy, int64_t n, const GemmRows& x, int64_t k, float* c) {
  Gemm gemm;
  gemm.turns = k <= kFewGemmRows && n > k && dy.rows == nullptr && x.rows == nullptr;
  gemm.m = gemm.turns ? k : n;
  gemm.n = gemm.turns ? n : k;
  gemm.depth = dy.n;
  gemm.left = gemm.turns ? x : dy;
  gemm.left_is_deep = true;
  gemm.right = right_of(gemm.turns ? dy : x);
  gemm.c = c;
  gemm.c_stride = k;
  return gemm;
}

}  // namespace llmhost::cpu
