// Weights of small integers: value = scale * (quant - zero), with one scale and zero point for each group of
// columns of a row. Internal to quantised*.cpp.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "model/quantised_parts.h"

namespace llmhost::model {

struct GroupedWeight {
  int64_t rows = 0;
  int64_t columns = 0;
  int64_t groups = 1;
  int64_t group_size = 0;         // columns that follow each other and share a scale
  std::vector<int32_t> group_of;  // the group of each column; empty: column / group_size
  int32_t low = 0;                // quant - zero is between these
  int32_t high = 0;
  bool has_f16_scales = false;  // false: it is found out
  // Quants of `count` rows from `first` (a multiple of 16), [count][columns]. [thread-safe]
  std::function<void(int64_t first, int64_t count, int16_t* quants)> quants;
  // Both [rows][groups]. No zeros: they are 0.
  std::function<std::vector<float>()> scales;
  std::function<std::vector<int16_t>()> zeros;
};

// Chooses the smallest element type that holds the values exactly. Where the groups are whole blocks and low
// to high fit a block's quants: q4_0, q5_0, q8_0 when the scales fit f16, i8_32 when they do not; otherwise
// f32.
QuantisedWeight grouped_weight(std::string stored_type, GroupedWeight weight);

// Integers of `bits` bits packed without gaps from the lowest bit on into 32-bit words: `first` is the number
// of the first word, `stride` from one word to the next.
inline uint32_t packed_value(const CheckpointTensor& part, int64_t first, int64_t stride, int64_t index,
                             int32_t bits) {
  const int64_t position = index * bits;
  const int64_t word = first + position / 32 * stride;
  const auto offset = static_cast<uint32_t>(position % 32);
  uint32_t value = word_at(part, word) >> offset;
  if (offset + static_cast<uint32_t>(bits) > 32) value |= word_at(part, word + stride) << (32 - offset);
  return value & ((1U << bits) - 1U);
}

// All integers of a word, `bits` being 2, 4 or 8.
template <int kBits>
void unpack_word(uint32_t word, int16_t* out) {
  for (int i = 0; i < 32 / kBits; ++i)
    out[i] = static_cast<int16_t>((word >> (kBits * i)) & ((1U << kBits) - 1U));
}
inline void unpack_word(uint32_t word, int32_t bits, int16_t* out) {
  if (bits == 4) return unpack_word<4>(word, out);
  if (bits == 8) return unpack_word<8>(word, out);
  unpack_word<2>(word, out);
}

// How many words `count` integers of `bits` bits take.
inline int64_t packed_words(int64_t count, int32_t bits) {
  return (count * bits + 31) / 32;
}

// The group of each column from a g_idx part; empty when it says no more than column / group_size. Throws
// when an index is outside [0, groups).
std::vector<int32_t> groups_of_columns(const CheckpointTensor& part, int64_t columns, int64_t groups,
                                       int64_t group_size);

// [groups][rows] to [rows][groups].
template <typename T>
std::vector<T> by_row(const std::vector<T>& by_group, int64_t rows, int64_t groups) {
  std::vector<T> result(by_group.size());
  for (int64_t g = 0; g < groups; ++g)
    for (int64_t r = 0; r < rows; ++r)
      result[static_cast<size_t>(r * groups + g)] = by_group[static_cast<size_t>(g * rows + r)];
  return result;
}

}  // namespace llmhost::model
