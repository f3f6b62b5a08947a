// Packed q4_0 and q8_0: for a block of 32 elements 16 f16 scales, then vectors of 16 words.
#if defined(LLMHOST_CPU_PACKED_BASIC_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LLMHOST_CPU_PACKED_BASIC_INL_H_
#undef LLMHOST_CPU_PACKED_BASIC_INL_H_
#else
#define LLMHOST_CPU_PACKED_BASIC_INL_H_
#endif

#include "kernels/packed_pack-inl.h"
#include "kernels/packed_tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace llmhost::cpu::HWY_NAMESPACE {
namespace {

template <class Format>
struct HalfScales {
  HWY_INLINE void read(const uint8_t* block, int lane) { scale = load_halves(block + 2 * lane); }
  HWY_INLINE Scales<Format> scales(int /*sub*/, int /*lane*/) const {
    Scales<Format> s;
    s.scale[0] = scale;
    return s;
  }
  Floats scale;
};

struct PackedQ4_0 {
  static constexpr int kBlock = 32, kBytes = 288, kOffset = 8, kMaxCode = 15, kHalves = 1;
  static constexpr bool kMinima = false;
  using Header = HalfScales<PackedQ4_0>;
  static HWY_INLINE void codes(const uint8_t* block, int /*sub*/, int step, int lane, Bytes& low,
                               Bytes& high) {
    const Bytes both = load_bytes(block + 32 + 64 * step + 4 * lane);
    const Bytes mask = fill_bytes(0x0F);
    low = and_bytes(both, mask);
    high = and_bytes(shift_right<4>(both), mask);
  }
  static constexpr int kStored = 18;
  static void read_stored(const uint8_t* block, int row, uint8_t* packed) {
    put_half(block, row, packed);
    for (int step = 0; step < 4; ++step) put_word(block + 2 + 4 * step, row, packed + 32 + 64 * step);
  }
};

struct PackedQ8_0 {
  static constexpr int kBlock = 32, kBytes = 544, kOffset = 128, kMaxCode = 255, kHalves = 1;
  static constexpr bool kMinima = false;
  using Header = HalfScales<PackedQ8_0>;
  static HWY_INLINE void codes(const uint8_t* block, int /*sub*/, int step, int lane, Bytes& low,
                               Bytes& high) {
    low = load_bytes(block + 32 + 64 * step + 4 * lane);
    high = load_bytes(block + 32 + 64 * (step + 4) + 4 * lane);
  }
  static constexpr int kStored = 34;
  static void read_stored(const uint8_t* block, int row, uint8_t* packed) {
    put_half(block, row, packed);
    for (int step = 0; step < 8; ++step)
      put_word(block + 2 + 4 * step, row, packed + 32 + 64 * step, 0x80808080U);
  }
};

}  // namespace
}  // namespace llmhost::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
