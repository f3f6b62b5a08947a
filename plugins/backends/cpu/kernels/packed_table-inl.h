// Packed 4-bit codes that stand for one of 16 values: iq4_nl, iq4_xs, mxfp4, nvfp4.
#if defined(LLMHOST_CPU_PACKED_TABLE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LLMHOST_CPU_PACKED_TABLE_INL_H_
#undef LLMHOST_CPU_PACKED_TABLE_INL_H_
#else
#define LLMHOST_CPU_PACKED_TABLE_INL_H_
#endif

#include "kernels/packed_planes-inl.h"
#include "kernels/packed_tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace llmhost::cpu::HWY_NAMESPACE {
namespace {

// -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113, plus 128
constexpr uint8_t kIq4Codes[16] = {1, 24, 45, 63, 79, 93, 106, 118, 129, 141, 153, 166, 181, 197, 217, 241};
// The values of e2m1 doubled: 0, 1, 2, 3, 4, 6, 8, 12 and their negatives, plus 12
constexpr uint8_t kE2m1Codes[16] = {12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0};

struct Iq4NlHeader {
  HWY_INLINE void read(const uint8_t* block, int lane) { values.scale[0] = load_halves(block + 2 * lane); }
  HWY_INLINE const Scales<1>& scales(int /*sub*/, int /*lane*/) const { return values; }
  Scales<1> values;
};

struct PackedIq4Nl : TableLayout<32, 32, 128, 255, 1, kIq4Codes> {
  using Header = Iq4NlHeader;
  static constexpr int kStored = 18;
  static constexpr int kNibblesAt = 2;
  static HWY_INLINE void put_scales(const uint8_t* stored, int row, uint8_t* header) {
    put_half(stored, row, header);
  }
};

// d; 4 bytes of low nibbles (parts i and 4 + i); 2 bytes of upper bits, those of part 2 m + i at bit 2 m.
struct Iq4XsHeader {
  HWY_INLINE void read(const uint8_t* block, int lane) {
    d = load_halves(block + 2 * lane);
    const uint8_t* low = block + 32;
    const uint8_t* high = block + 96;
    for (int m = 0; m < 4; ++m)
      for (int i = 0; i < 32; ++i) {
        const int nibble = (low[32 * (m % 2) + i] >> (m / 2 * 4)) & 15;
        bytes[32 * m + i] = static_cast<uint8_t>((nibble | ((high[i] >> (2 * m)) & 3) << 4) - 32);
      }
  }
  HWY_INLINE Scales<1> scales(int sub, int lane) const {
    Scales<1> s;
    s.scale[0] = mul_floats(d, to_floats(load_signed(bytes + 16 * sub + lane)));
    return s;
  }
  Floats d;
  alignas(64) uint8_t bytes[128];
};

struct PackedIq4Xs : TableLayout<256, 128, 128, 255, 1, kIq4Codes> {
  using Header = Iq4XsHeader;
  static constexpr int kStored = 136;
  static HWY_INLINE void read(const uint8_t* stored, int row, uint8_t* header, uint8_t* codes) {
    put_half(stored, row, header);
    const int upper = load_as<uint16_t>(stored + 2);
    for (int i = 0; i < 4; ++i) {  // stored: nibbles of parts 2 i and 2 i + 1 in byte i
      const auto nibble = [&](int part) { return (stored[4 + part / 2] >> (part % 2 * 4)) & 15; };
      header[32 + 16 * i + row] = static_cast<uint8_t>(nibble(i) | nibble(4 + i) << 4);
    }
    for (int i = 0; i < 2; ++i) {
      int bits = 0;
      for (int m = 0; m < 4; ++m) bits |= ((upper >> (2 * (2 * m + i))) & 3) << (2 * m);
      header[96 + 16 * i + row] = static_cast<uint8_t>(bits);
    }
    for (int sub = 0; sub < 8; ++sub) split_nibbles(stored + 8 + 16 * sub, codes + 32 * sub);
  }
};

// A power of two for each 32: half of 2^(e - 127), down to the subnormal numbers.
struct PowerHeader {
  HWY_INLINE void read(const uint8_t* block, int lane) {
    // 2^(e - 128) as the product of two that are normal numbers.
    const Ints e = load_unsigned(block + lane);
    const Ints half = ints_right<1>(e);
    const Ints bias = fill_ints(63);
    values.scale[0] = mul_floats(floats_of_bits(ints_left<23>(add_ints(half, bias))),
                                 floats_of_bits(ints_left<23>(add_ints(subtract_ints(e, half), bias))));
  }
  HWY_INLINE const Scales<1>& scales(int /*sub*/, int /*lane*/) const { return values; }
  Scales<1> values;
};

struct PackedMxfp4 : TableLayout<32, 16, 12, 24, 1, kE2m1Codes> {
  using Header = PowerHeader;
  static constexpr int kStored = 17;
  static constexpr int kNibblesAt = 1;
  static HWY_INLINE void put_scales(const uint8_t* stored, int row, uint8_t* header) {
    header[row] = stored[0];
  }
};

// Half of an e4m3 number for each 16. Packing has left out signs, and put 0 for what is no number.
struct E4m3Header {
  HWY_INLINE void read(const uint8_t* block, int lane) {
    for (int part = 0; part < 4; ++part)
      values[part / 2].scale[part % 2] = mul_floats(
          floats_of_bits(ints_left<20>(load_unsigned(block + 16 * part + lane))), fill_floats(0x1p119F));
  }
  HWY_INLINE const Scales<2>& scales(int sub, int /*lane*/) const { return values[sub]; }
  Scales<2> values[2];
};

struct PackedNvfp4 : TableLayout<64, 64, 12, 24, 2, kE2m1Codes> {
  using Header = E4m3Header;
  static constexpr int kStored = 36;
  static HWY_INLINE void read(const uint8_t* HWY_RESTRICT stored, int row, uint8_t* HWY_RESTRICT header,
                              uint8_t* HWY_RESTRICT codes) {
    for (int part = 0; part < 4; ++part) {
      header[16 * part + row] = stored[part] == 0x7F ? 0 : stored[part] & 0x7F;
      for (int i = 0; i < 8; ++i) {
        codes[16 * part + i] = stored[4 + 8 * part + i] & 15;
        codes[16 * part + 8 + i] = static_cast<uint8_t>(stored[4 + 8 * part + i] >> 4);
      }
    }
  }
};

}  // namespace
}  // namespace llmhost::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
