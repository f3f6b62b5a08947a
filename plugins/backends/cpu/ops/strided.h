// A walk over a dense result, row by row, beside operands whose elements lie strides apart. Dimensions that
// can be walked as one are merged first, so that rows are as long as possible.
#pragma once

#include "ops/op.h"

namespace llmhost::cpu {

template <int kOperands>
struct StridedWalk {
  int32_t rank = 0;  // at least 1 once merged
  int64_t dims[LLMH_MAX_RANK] = {};
  int64_t strides[kOperands][LLMH_MAX_RANK] = {};  // in elements; 0 where an operand is stretched

  explicit StridedWalk(const Shape& result) : rank(result.rank) {
    for (int32_t i = 0; i < rank; ++i) dims[i] = result.dims[i];
  }

  int64_t row() const { return dims[rank - 1]; }  // elements of one
  int64_t rows() const {
    int64_t n = 1;
    for (int32_t i = 0; i + 1 < rank; ++i) n *= dims[i];
    return n;
  }
  int64_t step(int operand) const { return strides[operand][rank - 1]; }  // between elements of a row

  void merge() {
    int32_t kept = 0;
    for (int32_t i = 0; i < rank; ++i) {
      if (dims[i] == 1) continue;
      if (kept > 0 && continues(kept - 1, i)) {
        dims[kept - 1] *= dims[i];
        for (int k = 0; k < kOperands; ++k) strides[k][kept - 1] = strides[k][i];
        continue;
      }
      dims[kept] = dims[i];
      for (int k = 0; k < kOperands; ++k) strides[k][kept] = strides[k][i];
      ++kept;
    }
    if (kept == 0) {
      dims[0] = 1;
      for (int k = 0; k < kOperands; ++k) strides[k][0] = 0;
      kept = 1;
    }
    rank = kept;
  }

  // body(row, offsets) for the rows [begin, end): where each operand's row starts, in elements.
  template <typename Body>
  void for_rows(int64_t begin, int64_t end, const Body& body) const {
    int64_t index[LLMH_MAX_RANK] = {};
    int64_t offsets[kOperands] = {};
    int64_t rest = begin;
    for (int32_t axis = rank - 2; axis >= 0; --axis) {
      index[axis] = rest % dims[axis];
      rest /= dims[axis];
      for (int k = 0; k < kOperands; ++k) offsets[k] += index[axis] * strides[k][axis];
    }
    for (int64_t row = begin; row < end; ++row) {
      body(row, offsets);
      for (int32_t axis = rank - 2; axis >= 0; --axis) {
        for (int k = 0; k < kOperands; ++k) offsets[k] += strides[k][axis];
        if (++index[axis] < dims[axis]) break;
        for (int k = 0; k < kOperands; ++k) offsets[k] -= dims[axis] * strides[k][axis];
        index[axis] = 0;
      }
    }
  }

 private:
  // Whether the elements of dimension `inner` follow on from one step of `outer` to the next.
  bool continues(int32_t outer, int32_t inner) const {
    for (int k = 0; k < kOperands; ++k)
      if (strides[k][outer] != strides[k][inner] * dims[inner]) return false;
    return true;
  }
};

}  // namespace llmhost::cpu
