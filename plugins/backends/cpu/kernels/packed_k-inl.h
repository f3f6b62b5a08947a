// Packed blocks of 256 elements: q2_k to q6_k. Scales stay integers of as many bits as stored; a block begins
// with the f16 scales d (and dmin) of the 16 rows, then bytes with the rows' own scales side by side.
#if defined(LLMHOST_CPU_PACKED_K_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LLMHOST_CPU_PACKED_K_INL_H_
#undef LLMHOST_CPU_PACKED_K_INL_H_
#else
#define LLMHOST_CPU_PACKED_K_INL_H_
#endif

#include "kernels/packed_planes-inl.h"
#include "kernels/packed_tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace llmhost::cpu::HWY_NAMESPACE {
namespace {

HWY_INLINE Floats negative(Floats v) {
  return mul_floats(v, fill_floats(-1.0F));
}

// --- Taking stored blocks apart ---

// Two bits of each of 256 elements: 32 bytes hold 128 of them, four planes of 32.
HWY_INLINE void split_two_bits(const uint8_t* HWY_RESTRICT packed, int shift, uint8_t* HWY_RESTRICT codes) {
  for (int sub = 0; sub < 8; ++sub)
    for (int i = 0; i < 32; ++i)
      codes[sub * 32 + i] = static_cast<uint8_t>(codes[sub * 32 + i] |
                                                 ((packed[sub / 4 * 32 + i] >> (sub % 4 * 2)) & 3) << shift);
}

// Four bits of each of 256 elements: 32 bytes hold 64 of them, two planes of 32.
HWY_INLINE void split_four_bits(const uint8_t* HWY_RESTRICT packed, uint8_t* HWY_RESTRICT codes) {
  for (int sub = 0; sub < 8; ++sub)
    for (int i = 0; i < 32; ++i)
      codes[sub * 32 + i] = static_cast<uint8_t>((packed[sub / 2 * 32 + i] >> (sub % 2 * 4)) & 15);
}

// One bit of each of 256 elements: bit `sub` of byte i is element sub * 32 + i.
HWY_INLINE void add_bit(const uint8_t* HWY_RESTRICT bits, int shift, uint8_t* HWY_RESTRICT codes) {
  for (int sub = 0; sub < 8; ++sub)
    for (int i = 0; i < 32; ++i)
      codes[sub * 32 + i] = static_cast<uint8_t>(codes[sub * 32 + i] | ((bits[i] >> sub) & 1) << shift);
}

// Eight 6-bit scales and minima in 12 bytes, as q4_k and q5_k store them.
HWY_INLINE int stored_scale(const uint8_t* packed, int j) {
  return j < 4 ? packed[j] & 63 : (packed[j + 4] & 15) | (packed[j - 4] >> 6 << 4);
}
HWY_INLINE int stored_minimum(const uint8_t* packed, int j) {
  return j < 4 ? packed[j + 4] & 63 : (packed[j + 4] >> 4) | (packed[j] >> 6 << 4);
}

// --- q4_k, q5_k: d, dmin; a byte of low nibbles (scale, minimum) for each of the 8 parts; 4 bytes of upper
// bits, those of part i: scale 1-0, minimum 3-2, of part i + 4: scale 5-4, minimum 7-6 ---

HWY_INLINE void put_scales_and_minima(const uint8_t* stored, int row, uint8_t* header) {
  put_half(stored, row, header);
  put_half(stored + 2, row, header + 32);
  uint8_t* low = header + 64 + row;
  uint8_t* high = header + 192 + row;
  for (int j = 0; j < 8; ++j)
    low[16 * j] =
        static_cast<uint8_t>((stored_scale(stored + 4, j) & 15) | (stored_minimum(stored + 4, j) & 15) << 4);
  for (int j = 0; j < 4; ++j)
    high[16 * j] = static_cast<uint8_t>(
        stored_scale(stored + 4, j) >> 4 | stored_minimum(stored + 4, j) >> 4 << 2 |
        stored_scale(stored + 4, j + 4) >> 4 << 4 | stored_minimum(stored + 4, j + 4) >> 4 << 6);
}

struct ScalesAndMinima {
  HWY_INLINE void read(const uint8_t* block, int lane) {
    d = load_halves(block + 2 * lane);
    negative_dmin = negative(load_halves(block + 32 + 2 * lane));
    const uint8_t* low = block + 64;
    const uint8_t* high = block + 192;
    for (int i = 0; i < 64; ++i) {
      scale[i] = static_cast<uint8_t>((low[i] & 15) | (high[i] & 3) << 4);
      minimum[i] = static_cast<uint8_t>(low[i] >> 4 | (high[i] & 12) << 2);
      scale[64 + i] = static_cast<uint8_t>((low[64 + i] & 15) | (high[i] & 48));
      minimum[64 + i] = static_cast<uint8_t>(low[64 + i] >> 4 | (high[i] & 192) >> 2);
    }
  }
  HWY_INLINE Scales<1> scales(int sub, int lane) const {
    Scales<1> s;
    s.scale[0] = mul_floats(d, to_floats(load_unsigned(scale + 16 * sub + lane)));
    s.minimum[0] = mul_floats(negative_dmin, to_floats(load_unsigned(minimum + 16 * sub + lane)));
    return s;
  }
  Floats d, negative_dmin;
  alignas(64) uint8_t scale[128];
  alignas(64) uint8_t minimum[128];
};

struct PackedQ4_K : Layout<256, 256, Nibbles, 0, 15, 1, true> {
  using Header = ScalesAndMinima;
  static constexpr int kStored = 144;
  static HWY_INLINE void read(const uint8_t* stored, int row, uint8_t* header, uint8_t* codes) {
    put_scales_and_minima(stored, row, header);
    split_four_bits(stored + 16, codes);
  }
};

struct PackedQ5_K : Layout<256, 256, WithBits<Nibbles, 1, 4>, 0, 31, 1, true> {
  using Header = ScalesAndMinima;
  static constexpr int kStored = 176;
  static HWY_INLINE void read(const uint8_t* stored, int row, uint8_t* header, uint8_t* codes) {
    put_scales_and_minima(stored, row, header);
    split_four_bits(stored + 48, codes);
    add_bit(stored + 16, 4, codes);
  }
};

// --- q6_k: d; a signed byte for each of 16 parts ---

struct SignedByteScales {
  HWY_INLINE void read(const uint8_t* block, int lane) {
    d = load_halves(block + 2 * lane);
    bytes = block + 32;
  }
  HWY_INLINE Scales<2> scales(int sub, int lane) const {
    Scales<2> s;
    for (int h = 0; h < 2; ++h)
      s.scale[h] = mul_floats(d, to_floats(load_signed(bytes + 16 * (2 * sub + h) + lane)));
    return s;
  }
  Floats d;
  const uint8_t* bytes;
};

struct PackedQ6_K : Layout<256, 288, WithBits<Nibbles, 2, 4>, 32, 63, 2, false> {
  using Header = SignedByteScales;
  static constexpr int kStored = 210;
  static HWY_INLINE void read(const uint8_t* stored, int row, uint8_t* header, uint8_t* codes) {
    put_half(stored + 208, row, header);
    for (int j = 0; j < 16; ++j) header[32 + 16 * j + row] = stored[192 + j];
    for (int sub = 0; sub < 8; ++sub)  // nibbles in planes of 64 within each half of 128 elements
      for (int i = 0; i < 32; ++i)
        codes[sub * 32 + i] = (stored[sub / 4 * 64 + sub % 2 * 32 + i] >> (sub % 4 / 2 * 4)) & 15;
    split_two_bits(stored + 128, 4, codes);
  }
};

// --- q3_k: d; 8 bytes of low nibbles (parts i and 8 + i); 4 bytes of upper bits, those of part 4 m + i at
// bit 2 m ---

struct SixBitScales {
  HWY_INLINE void read(const uint8_t* block, int lane) {
    d = load_halves(block + 2 * lane);
    const uint8_t* low = block + 32;
    const uint8_t* high = block + 160;
    for (int m = 0; m < 4; ++m)
      for (int i = 0; i < 64; ++i) {
        const int nibble = (low[64 * (m % 2) + i] >> (m / 2 * 4)) & 15;
        bytes[64 * m + i] = static_cast<uint8_t>((nibble | ((high[i] >> (2 * m)) & 3) << 4) - 32);
      }
  }
  HWY_INLINE Scales<2> scales(int sub, int lane) const {
    Scales<2> s;
    for (int h = 0; h < 2; ++h)
      s.scale[h] = mul_floats(d, to_floats(load_signed(bytes + 16 * (2 * sub + h) + lane)));
    return s;
  }
  Floats d;
  alignas(64) uint8_t bytes[256];
};

struct PackedQ3_K : Layout<256, 224, WithBits<WithBits<NoBits, 2, 0>, 1, 2>, 4, 7, 2, false> {
  using Header = SixBitScales;
  static constexpr int kStored = 110;
  static HWY_INLINE void read(const uint8_t* stored, int row, uint8_t* header, uint8_t* codes) {
    put_half(stored + 108, row, header);
    // Stored: low nibbles as here, upper bits of part 4 m + i at bit 2 m of byte 8 + i.
    for (int j = 0; j < 12; ++j) header[32 + 16 * j + row] = stored[96 + j];
    std::memset(codes, 0, 256);
    split_two_bits(stored + 32, 0, codes);
    add_bit(stored, 2, codes);
  }
};

// --- q2_k: d, dmin; a byte (scale, minimum) for each of 16 parts ---

struct NibbleScales {
  HWY_INLINE void read(const uint8_t* block, int lane) {
    d = load_halves(block + 2 * lane);
    negative_dmin = negative(load_halves(block + 32 + 2 * lane));
    for (int i = 0; i < 256; ++i) {
      scale[i] = block[64 + i] & 15;
      minimum[i] = static_cast<uint8_t>(block[64 + i] >> 4);
    }
  }
  HWY_INLINE Scales<2> scales(int sub, int lane) const {
    Scales<2> s;
    for (int h = 0; h < 2; ++h) {
      const int at = 16 * (2 * sub + h) + lane;
      s.scale[h] = mul_floats(d, to_floats(load_unsigned(scale + at)));
      s.minimum[h] = mul_floats(negative_dmin, to_floats(load_unsigned(minimum + at)));
    }
    return s;
  }
  Floats d, negative_dmin;
  alignas(64) uint8_t scale[256];
  alignas(64) uint8_t minimum[256];
};

struct PackedQ2_K : Layout<256, 320, WithBits<NoBits, 2, 0>, 0, 3, 2, true> {
  using Header = NibbleScales;
  static constexpr int kStored = 84;
  static HWY_INLINE void read(const uint8_t* stored, int row, uint8_t* header, uint8_t* codes) {
    put_half(stored + 80, row, header);
    put_half(stored + 82, row, header + 32);
    for (int j = 0; j < 16; ++j) header[64 + 16 * j + row] = stored[j];
    std::memset(codes, 0, 256);
    split_two_bits(stored + 16, 0, codes);
  }
};

}  // namespace
}  // namespace llmhost::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
