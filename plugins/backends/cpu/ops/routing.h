// Which rows belong to which expert.
#pragma once

#include "ops/op.h"

namespace llmhost::cpu {

struct Routing {
  int32_t* begin;   // [E+1] of each expert's rows in the lists
  int32_t* y_rows;  // [T*S], by expert, ascending within one
  int32_t* x_rows;  // [T*S] the row of x for each
  int32_t* active;  // [E] experts that have rows
  int64_t n_active;

  Routing(uint8_t* memory, int64_t experts, int64_t rows)
      : begin(reinterpret_cast<int32_t*>(memory)),
        y_rows(begin + experts + 1),
        x_rows(y_rows + rows),
        active(x_rows + rows),
        n_active(0) {}

  int64_t count(int64_t expert) const { return begin[expert + 1] - begin[expert]; }

  static uint64_t bytes(int64_t experts, int64_t rows) {
    return static_cast<uint64_t>(2 * (experts + rows) + 1) * sizeof(int32_t);
  }
};

// Throws llmh::Error for an id that is no expert.
void check_experts(const Call& call, const int32_t* ids, int64_t rows, int64_t experts);
// A counting sort into `memory`; `rows_per_x` rows share one row of x.
Routing route(uint8_t* memory, const int32_t* ids, int64_t rows, int64_t experts, int64_t rows_per_x);

}  // namespace llmhost::cpu
