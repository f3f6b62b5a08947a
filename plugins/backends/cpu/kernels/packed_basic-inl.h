// Packed blocks of 32 elements with stored scales: q4_0, q4_1, q5_0, q5_1, q8_0, i8_32.
#if defined(LLMHOST_CPU_PACKED_BASIC_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LLMHOST_CPU_PACKED_BASIC_INL_H_
#undef LLMHOST_CPU_PACKED_BASIC_INL_H_
#else
#define LLMHOST_CPU_PACKED_BASIC_INL_H_
#endif

#include "kernels/packed_planes-inl.h"
#include "kernels/packed_tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace llmhost::cpu::HWY_NAMESPACE {
namespace {

// 16 f16 scales, and 16 minima if there are any.
template <bool kMinima>
struct HalfHeader {
  HWY_INLINE void read(const uint8_t* block, int lane) {
    values.scale[0] = load_halves(block + 2 * lane);
    if constexpr (kMinima) values.minimum[0] = load_halves(block + 32 + 2 * lane);
  }
  HWY_INLINE const Scales<1>& scales(int /*sub*/, int /*lane*/) const { return values; }
  Scales<1> values;
};

struct FloatHeader {
  HWY_INLINE void read(const uint8_t* block, int lane) {
    values.scale[0] = load_floats(reinterpret_cast<const float*>(block) + lane);
  }
  HWY_INLINE const Scales<1>& scales(int /*sub*/, int /*lane*/) const { return values; }
  Scales<1> values;
};

// The fifth bit of element i is bit i of the word. Eight at a time: each byte keeps its own bit of eight
// copies, and the addition carries it, wherever it is, to the byte's uppermost bit.
HWY_INLINE void add_fifth_bits(const uint8_t* word, uint8_t* codes) {
  for (int i = 0; i < 4; ++i) {
    const uint64_t own = (word[i] * 0x0101010101010101U) & 0x8040201008040201U;
    const uint64_t fifth = ((own + 0x7F7F7F7F7F7F7F7FU) & 0x8080808080808080U) >> 3;
    const uint64_t eight = load_as<uint64_t>(codes + 8 * i) | fifth;
    std::memcpy(codes + 8 * i, &eight, sizeof eight);
  }
}

struct PackedQ4_0 : Layout<32, 32, Nibbles, 8, 15, 1, false> {
  using Header = HalfHeader<false>;
  static constexpr int kStored = 18;
  static constexpr int kNibblesAt = 2;
  static HWY_INLINE void put_scales(const uint8_t* stored, int row, uint8_t* header) {
    put_half(stored, row, header);
  }
};

struct PackedQ4_1 : Layout<32, 64, Nibbles, 0, 15, 1, true> {
  using Header = HalfHeader<true>;
  static constexpr int kStored = 20;
  static constexpr int kNibblesAt = 4;
  static HWY_INLINE void put_scales(const uint8_t* stored, int row, uint8_t* header) {
    put_half(stored, row, header);
    put_half(stored + 2, row, header + 32);
  }
};

struct PackedQ5_0 : Layout<32, 32, WithBits<Nibbles, 1, 4>, 16, 31, 1, false> {
  using Header = HalfHeader<false>;
  static constexpr int kStored = 22;
  static HWY_INLINE void read(const uint8_t* stored, int row, uint8_t* header, uint8_t* codes) {
    put_half(stored, row, header);
    split_nibbles(stored + 6, codes);
    add_fifth_bits(stored + 2, codes);
  }
};

struct PackedQ5_1 : Layout<32, 64, WithBits<Nibbles, 1, 4>, 0, 31, 1, true> {
  using Header = HalfHeader<true>;
  static constexpr int kStored = 24;
  static HWY_INLINE void read(const uint8_t* stored, int row, uint8_t* header, uint8_t* codes) {
    put_half(stored, row, header);
    put_half(stored + 2, row, header + 32);
    split_nibbles(stored + 8, codes);
    add_fifth_bits(stored + 4, codes);
  }
};

struct PackedQ8_0 : Layout<32, 32, WholeBytes, 128, 255, 1, false> {
  using Header = HalfHeader<false>;
  static constexpr int kStored = 34;
  static HWY_INLINE void read(const uint8_t* stored, int row, uint8_t* header, uint8_t* codes) {
    put_half(stored, row, header);
    for (int i = 0; i < 32; ++i) codes[i] = stored[2 + i] ^ 0x80;
  }
};

struct PackedI8_32 : Layout<32, 64, WholeBytes, 128, 255, 1, false> {
  using Header = FloatHeader;
  static constexpr int kStored = 36;
  static HWY_INLINE void read(const uint8_t* stored, int row, uint8_t* header, uint8_t* codes) {
    std::memcpy(header + 4 * row, stored, 4);
    for (int i = 0; i < 32; ++i) codes[i] = stored[4 + i] ^ 0x80;
  }
};

}  // namespace
}  // namespace llmhost::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
