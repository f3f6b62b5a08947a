// Decoders of the non-linear 4-bit blocks iq4_nl and iq4_xs. Exact to the bit.
#if defined(LLMHOST_CPU_DECODE_IQ_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LLMHOST_CPU_DECODE_IQ_INL_H_
#undef LLMHOST_CPU_DECODE_IQ_INL_H_
#else
#define LLMHOST_CPU_DECODE_IQ_INL_H_
#endif

#include "kernels/decode_block-inl.h"

HWY_BEFORE_NAMESPACE();
namespace llmhost::cpu::HWY_NAMESPACE {
namespace {

HWY_ALIGN constexpr int8_t kIq4Values[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                             1,    13,   25,  38,  53,  69,  89,  113};

// 16 bytes of indices into the table, in the order of unpack_nibbles.
HWY_INLINE void look_up_nibbles(const uint8_t* packed, int8_t* q) {
#if HWY_TARGET == HWY_SCALAR
  for (int i = 0; i < 16; ++i) {
    q[i] = kIq4Values[packed[i] & 0x0F];
    q[i + 16] = kIq4Values[packed[i] >> 4];
  }
#else
  const hn::FixedTag<uint8_t, 16> d;
  const hn::FixedTag<int8_t, 16> di;
  const auto table = hn::BitCast(d, hn::Load(di, kIq4Values));
  const auto bytes = hn::LoadU(d, packed);
  const auto low = hn::TableLookupBytes(table, hn::And(bytes, hn::Set(d, 0x0F)));
  const auto high = hn::TableLookupBytes(table, hn::ShiftRight<4>(bytes));
  hn::StoreU(hn::BitCast(di, low), di, q);
  hn::StoreU(hn::BitCast(di, high), di, q + 16);
#endif
}

HWY_INLINE void block_iq4_nl(const uint8_t* block, float* out) {
  int8_t q[32];
  look_up_nibbles(block + 2, q);
  scale_run<32>(q, load_scale(block), out);
}

HWY_INLINE void block_iq4_xs(const uint8_t* block, float* out) {
  const float d = load_scale(block);
  const int high_scales = load_as<uint16_t>(block + 2);
  for (int j = 0; j < 8; ++j) {
    int8_t q[32];
    look_up_nibbles(block + 8 + 16 * j, q);
    const int low = (block[4 + j / 2] >> (j % 2 * 4)) & 0x0F;
    const int scale = (low | ((high_scales >> (2 * j)) & 3) << 4) - 32;
    scale_run<32>(q, d * static_cast<float>(scale), out + 32 * j);
  }
}

}  // namespace
}  // namespace llmhost::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
