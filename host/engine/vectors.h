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

LLMHOST_VECTOR_PART float largest_lane(const Floats& values) {
  float lanes[kLanes];
  std::memcpy(lanes, &values, sizeof(lanes));
  for (int64_t width = kLanes / 2; width > 0; width /= 2)
    for (int64_t j = 0; j < width; ++j) lanes[j] = lanes[j + width] > lanes[j] ? lanes[j + width] : lanes[j];
  return lanes[0];
}

// Added in pairs.
LLMHOST_VECTOR_PART float sum_of_lanes(const Floats& values) {
  float lanes[kLanes];
  std::memcpy(lanes, &values, sizeof(lanes));
  for (int64_t width = kLanes / 2; width > 0; width /= 2)
    for (int64_t j = 0; j < width; ++j) lanes[j] += lanes[j + width];
  return lanes[0];
}

}  // namespace llmhost::engine
