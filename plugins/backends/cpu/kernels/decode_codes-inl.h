// Decoders of 4-bit blocks whose codes stand for 16 floats, nf4 and fp4. Exact to the bit.
#if defined(LLMHOST_CPU_DECODE_CODES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LLMHOST_CPU_DECODE_CODES_INL_H_
#undef LLMHOST_CPU_DECODE_CODES_INL_H_
#else
#define LLMHOST_CPU_DECODE_CODES_INL_H_
#endif

#include "kernels/decode_block-inl.h"
#include "llmhost/block_decode.hpp"

HWY_BEFORE_NAMESPACE();
namespace llmhost::cpu::HWY_NAMESPACE {
namespace {

// 64 codes behind an f32 scale, the first half in the low bits.
HWY_INLINE void block_codes(const uint8_t* block, const float* values, float* out) {
  const auto scale = load_as<float>(block);
#if HWY_TARGET == HWY_AVX3
  const hn::FixedTag<float, 16> d;
  const hn::Rebind<int32_t, decltype(d)> whole;
  const hn::Rebind<uint8_t, decltype(d)> bytes;
  const auto table = hn::LoadU(d, values);
  const auto factor = hn::Set(d, scale);
  const auto store = [&](hn::Vec<decltype(whole)> codes, float* to) HWY_ATTR {
    hn::StoreU(hn::Mul(hn::TableLookupLanes(table, hn::IndicesFromVec(d, codes)), factor), d, to);
  };
  for (int i = 0; i < 32; i += 16) {
    const auto codes = hn::PromoteTo(whole, hn::LoadU(bytes, block + 4 + i));
    store(hn::And(codes, hn::Set(whole, 0x0F)), out + i);
    store(hn::ShiftRight<4>(codes), out + 32 + i);
  }
#else
  for (int i = 0; i < 32; ++i) {
    out[i] = values[block[4 + i] & 0x0F] * scale;
    out[i + 32] = values[block[4 + i] >> 4] * scale;
  }
#endif
}

HWY_INLINE void block_nf4(const uint8_t* block, float* out) {
  block_codes(block, llmh::block::kNf4Values, out);
}

HWY_INLINE void block_fp4(const uint8_t* block, float* out) {
  block_codes(block, llmh::block::kFp4Values, out);
}

}  // namespace
}  // namespace llmhost::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
