// How the codes of 32 elements of 16 rows lie in a packed block, and packing. Element 4 word + i of a row is
// byte i of the row's part of word 0 to 7; a plane is 64 bytes in which some bits of several words lie.
#if defined(LLMHOST_CPU_PACKED_PLANES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LLMHOST_CPU_PACKED_PLANES_INL_H_
#undef LLMHOST_CPU_PACKED_PLANES_INL_H_
#else
#define LLMHOST_CPU_PACKED_PLANES_INL_H_
#endif

#include <algorithm>
#include <cstring>

#include "kernels/half.h"
#include "kernels/packed.h"
#include "kernels/packed_lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace llmhost::cpu::HWY_NAMESPACE {
namespace {

using Words = uint8_t[8][64];

template <int kFrom, int kTo>
HWY_INLINE Bytes move_bits(Bytes v) {
  if constexpr (kFrom < kTo) return shift_left<kTo - kFrom>(v);
  if constexpr (kFrom > kTo) return shift_right<kFrom - kTo>(v);
  return v;
}

// Bits from `from` to kTo; `from` is a constant where this is unrolled.
template <int kTo>
HWY_INLINE Bytes move_bits(Bytes v, int from) {
  switch (from) {
    case 0:
      return move_bits<0, kTo>(v);
    case 1:
      return move_bits<1, kTo>(v);
    case 2:
      return move_bits<2, kTo>(v);
    case 3:
      return move_bits<3, kTo>(v);
    case 4:
      return move_bits<4, kTo>(v);
    case 5:
      return move_bits<5, kTo>(v);
    case 6:
      return move_bits<6, kTo>(v);
    default:
      return move_bits<7, kTo>(v);
  }
}

// kBits bits of each word: those of words 0 to 3 and of 4 to 7 apart, or all together for one bit.
template <int kBits, int kTo>
struct BitPlanes {
  static constexpr int kBytes = 64 * kBits;
  static constexpr int kWordsEach = 8 / kBits;
  static HWY_INLINE Bytes add(const uint8_t* planes, int word, int lane, Bytes codes) {
    const Bytes plane = load_bytes(planes + word / kWordsEach * 64 + 4 * lane);
    const Bytes mask = fill_bytes(((1 << kBits) - 1) << kTo);
    return and_or_bytes(move_bits<kTo>(plane, word % kWordsEach * kBits), mask, codes);
  }
  static void write(const Words& words, uint8_t* planes) {
    for (int plane = 0; plane < kBits; ++plane)
      for (int i = 0; i < 64; ++i) {
        int byte = 0;
        for (int w = 0; w < kWordsEach; ++w)
          byte |= ((words[plane * kWordsEach + w][i] >> kTo) & ((1 << kBits) - 1)) << (w * kBits);
        planes[64 * plane + i] = static_cast<uint8_t>(byte);
      }
  }
};

struct Nibbles {
  static constexpr int kBytes = 256;
  static HWY_INLINE void codes(const uint8_t* planes, int step, int lane, Bytes& low, Bytes& high) {
    const Bytes both = load_bytes(planes + 64 * step + 4 * lane);
    const Bytes mask = fill_bytes(0x0F);
    low = and_bytes(both, mask);
    high = and_bytes(shift_right<4>(both), mask);
  }
  static void write(const Words& words, uint8_t* planes) {
    for (int step = 0; step < 4; ++step)
      for (int i = 0; i < 64; ++i)
        planes[64 * step + i] = static_cast<uint8_t>((words[step][i] & 15) | words[step + 4][i] << 4);
  }
};

// Low bits in Base, kBits more from bit kTo on.
template <class Base, int kBits, int kTo>
struct WithBits {
  using High = BitPlanes<kBits, kTo>;
  static constexpr int kBytes = Base::kBytes + High::kBytes;
  static HWY_INLINE void codes(const uint8_t* planes, int step, int lane, Bytes& low, Bytes& high) {
    Base::codes(planes, step, lane, low, high);
    low = High::add(planes + Base::kBytes, step, lane, low);
    high = High::add(planes + Base::kBytes, step + 4, lane, high);
  }
  static void write(const Words& words, uint8_t* planes) {
    Base::write(words, planes);
    High::write(words, planes + Base::kBytes);
  }
};

struct NoBits {
  static constexpr int kBytes = 0;
  static HWY_INLINE void codes(const uint8_t*, int, int, Bytes& low, Bytes& high) {
    low = high = fill_bytes(0);
  }
  static void write(const Words&, uint8_t*) {}
};

struct WholeBytes {
  static constexpr int kBytes = 512;
  static HWY_INLINE void codes(const uint8_t* planes, int step, int lane, Bytes& low, Bytes& high) {
    low = load_bytes(planes + 64 * step + 4 * lane);
    high = load_bytes(planes + 64 * (step + 4) + 4 * lane);
  }
  static void write(const Words& words, uint8_t* planes) { std::memcpy(planes, words, sizeof words); }
};

// What formats have in common; see packed_tile-inl.h. kHeader bytes of scales come before the planes.
template <int kElements, int kHeader, class Planes_, int kOffset_, int kMaxCode_, int kHalves_, bool kMinima_>
struct Layout {
  using Planes = Planes_;
  static constexpr int kBlock = kElements, kHeaderBytes = kHeader;
  static constexpr int kBytes = kHeader + kElements / kActivationBlock * Planes::kBytes;
  static constexpr int kOffset = kOffset_, kMaxCode = kMaxCode_, kHalves = kHalves_;
  static constexpr bool kMinima = kMinima_;
  static HWY_INLINE void codes(const uint8_t* block, int sub, int step, int lane, Bytes& low, Bytes& high) {
    Planes::codes(block + kHeader + sub * Planes::kBytes, step, lane, low, high);
  }
};

// Codes that are places in a table of 16.
template <int kElements, int kHeader, int kOffset_, int kMaxCode_, int kHalves_, const uint8_t* kTable>
struct TableLayout : Layout<kElements, kHeader, Nibbles, kOffset_, kMaxCode_, kHalves_, false> {
  static HWY_INLINE void codes(const uint8_t* block, int sub, int step, int lane, Bytes& low, Bytes& high) {
    Nibbles::codes(block + kHeader + sub * Nibbles::kBytes, step, lane, low, high);
    low = look_up(kTable, low);
    high = look_up(kTable, high);
  }
};

// --- Packing. A format's read(stored, row, header, codes) takes one stored block apart; put_scales does
// where only scales need it. ---

HWY_INLINE void put_half(const uint8_t* source, int row, uint8_t* halves) {
  std::memcpy(halves + 2 * row, source, 2);
}

// 16 bytes with elements 0-15 in the low nibbles and 16-31 in the high ones.
HWY_INLINE void split_nibbles(const uint8_t* packed, uint8_t* codes) {
  constexpr uint64_t kLow = 0x0F0F0F0F0F0F0F0FU;
  const uint64_t words[2] = {load_as<uint64_t>(packed), load_as<uint64_t>(packed + 8)};
  const uint64_t split[4] = {words[0] & kLow, words[1] & kLow, (words[0] >> 4) & kLow,
                             (words[1] >> 4) & kLow};
  std::memcpy(codes, split, sizeof split);
}

// As many blocks at a time as make 256 elements: bytes are read back long after they were written.
template <class Format>
struct Packer {
  static constexpr int kBatch = 256;
  static constexpr int kSubs = kBatch / kActivationBlock;

  HWY_INLINE void read(const uint8_t* stored, int64_t row_bytes, int64_t n_rows, int64_t blocks,
                       uint8_t* group) {
    static constexpr uint8_t kZeros[256] = {};
    for (int row = 0; row < kPackedRows; ++row)
      for (int64_t b = 0; b < blocks; ++b)
        Format::read(row < n_rows ? stored + row * row_bytes + b * Format::kStored : kZeros, row,
                     group + b * Format::kBytes, codes[row] + b * Format::kBlock);
  }
  HWY_INLINE void transpose() {
    for (int row = 0; row < kPackedRows; ++row)
      for (int sub = 0; sub < kSubs; ++sub)
        for (int w = 0; w < 8; ++w)
          std::memcpy(words[sub][w] + 4 * row, codes[row] + kActivationBlock * sub + 4 * w, 4);
  }
  HWY_INLINE void write(int64_t blocks, uint8_t* group) const {
    constexpr int kSubsEach = Format::kBlock / kActivationBlock;
    for (int64_t b = 0; b < blocks; ++b)
      for (int sub = 0; sub < kSubsEach; ++sub)
        Format::Planes::write(words[b * kSubsEach + sub], group + b * Format::kBytes + Format::kHeaderBytes +
                                                              sub * Format::Planes::kBytes);
  }
  alignas(64) uint8_t codes[kPackedRows][kBatch] = {};
  alignas(64) Words words[kSubs];
};

template <class Format>
void pack_codes(const uint8_t* stored, int64_t row_bytes, int64_t depth, int64_t n_rows, uint8_t* group) {
  Packer<Format> packer;
  constexpr int64_t kBlocks = Packer<Format>::kBatch / Format::kBlock;
  for (int64_t block = 0; block < depth / Format::kBlock; block += kBlocks) {
    const int64_t blocks = std::min(depth / Format::kBlock - block, kBlocks);
    packer.read(stored + block * Format::kStored, row_bytes, n_rows, blocks, group + block * Format::kBytes);
    packer.transpose();
    packer.write(blocks, group + block * Format::kBytes);
  }
}

// Blocks of 32 whose nibbles are stored in the planes' order, from kNibblesAt on: words are moved alone.
template <class Format>
void pack_nibbles(const uint8_t* stored, int64_t row_bytes, int64_t depth, int64_t n_rows, uint8_t* group) {
  static constexpr uint8_t kZeros[32] = {};
  for (int64_t k = 0; k < depth; k += Format::kBlock, group += Format::kBytes, stored += Format::kStored)
    for (int row = 0; row < kPackedRows; ++row) {
      const uint8_t* source = row < n_rows ? stored + row * row_bytes : kZeros;
      Format::put_scales(source, row, group);
      uint8_t* words = group + Format::kHeaderBytes + 4 * row;
      for (int step = 0; step < 4; ++step)
        std::memcpy(words + 64 * step, source + Format::kNibblesAt + 4 * step, 4);
    }
}

template <class Format>
void pack(const uint8_t* stored, int64_t row_bytes, int64_t depth, int64_t n_rows, uint8_t* group) {
  if constexpr (requires { Format::kNibblesAt; })
    pack_nibbles<Format>(stored, row_bytes, depth, n_rows, group);
  else
    pack_codes<Format>(stored, row_bytes, depth, n_rows, group);
}

}  // namespace
}  // namespace llmhost::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
