// Stored rows to groups.
#if defined(LLMHOST_CPU_PACKED_PACK_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LLMHOST_CPU_PACKED_PACK_INL_H_
#undef LLMHOST_CPU_PACKED_PACK_INL_H_
#else
#define LLMHOST_CPU_PACKED_PACK_INL_H_
#endif

#include <cstring>

#include "hwy/highway.h"
#include "kernels/half.h"
#include "kernels/packed.h"
#include "kernels/packed_lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace llmhost::cpu::HWY_NAMESPACE {
namespace {

HWY_INLINE void put_half(const uint8_t* source, int row, uint8_t* halves) {
  std::memcpy(halves + 2 * row, source, 2);
}

HWY_INLINE void put_word(const uint8_t* source, int row, uint8_t* words, uint32_t flip = 0) {
  const uint32_t word = load_as<uint32_t>(source) ^ flip;
  std::memcpy(words + 4 * row, &word, 4);
}

template <class Format>
void pack(const uint8_t* stored, int64_t row_bytes, int64_t depth, int64_t n_rows, uint8_t* group) {
  alignas(64) static constexpr uint8_t kZeros[256] = {};
  for (int64_t k = 0; k < depth; k += Format::kBlock, group += Format::kBytes, stored += Format::kStored)
    for (int row = 0; row < kPackedRows; ++row)
      Format::read_stored(row < n_rows ? stored + row * row_bytes : kZeros, row, group);
}

}  // namespace
}  // namespace llmhost::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
