// Loops over logits in vectors of sixteen, whatever the machine's width: the compiler takes as many registers
// as that needs, so every machine makes the same sums in the same order.
//
// LLMHOST_VECTOR_CLONES before a function: it is compiled for several widths, of which the machine's is taken
// when the program starts.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__) && \
    !defined(__SANITIZE_THREAD__)
#define LLMHOST_VECTOR_CLONES __attribute__((target_clones("default", "avx2", "avx512f")))
#else
// Sanitizers are not ready yet when the choice is made.
#define LLMHOST_VECTOR_CLONES
#endif
// Vectors are passed by reference to functions that are always part of their caller: no calling convention
// for them is the same on all machines.
#define LLMHOST_VECTOR_PART inline __attribute__((always_inline))

namespace llmhost::engine {

constexpr int64_t kLanes = 16;
using Floats = float __attribute__((vector_size(64)));
using Words = uint32_t __attribute__((vector_size(64)));

LLMHOST_VECTOR_PART void load_lanes(const float* from, Floats& to) {
  std::memcpy(&to, from, sizeof(to));
}

// Lane j gets lane j + kWidth, for the lower lanes; the others get what nobody reads.
template <int kWidth>
LLMHOST_VECTOR_PART void lanes_down(const Floats& from, Floats& to) {
  to = __builtin_shufflevector(from, from, kWidth, kWidth + 1, kWidth + 2, kWidth + 3, kWidth + 4, kWidth + 5,
                               kWidth + 6, kWidth + 7, kWidth + 8, kWidth + 9, kWidth + 10, kWidth + 11,
                               kWidth + 12, kWidth + 13, kWidth + 14, kWidth + 15);
}

template <int kWidth>
LLMHOST_VECTOR_PART void fold_largest(Floats& values) {
  Floats other;
  lanes_down<kWidth>(values, other);
  values = other > values ? other : values;
}

LLMHOST_VECTOR_PART float largest_lane(const Floats& lanes) {
  Floats values = lanes;
  fold_largest<8>(values);
  fold_largest<4>(values);
  fold_largest<2>(values);
  fold_largest<1>(values);
  return values[0];
}

template <int kWidth>
LLMHOST_VECTOR_PART void fold_sum(Floats& values) {
  Floats other;
  lanes_down<kWidth>(values, other);
  values += other;
}

// Added in pairs.
LLMHOST_VECTOR_PART float sum_of_lanes(const Floats& lanes) {
  Floats values = lanes;
  fold_sum<8>(values);
  fold_sum<4>(values);
  fold_sum<2>(values);
  fold_sum<1>(values);
  return values[0];
}

}  // namespace llmhost::engine
