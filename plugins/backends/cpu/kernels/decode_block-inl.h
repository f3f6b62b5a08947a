// What all block decoders share: quants are unpacked to bytes (loops that compilers vectorise), then turned
// into f32 and scaled. The product is rounded before the offset is added, as in the formats' definition, so
// decoded values equal the scalar definition to the bit.
#if defined(LLMHOST_CPU_DECODE_BLOCK_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LLMHOST_CPU_DECODE_BLOCK_INL_H_
#undef LLMHOST_CPU_DECODE_BLOCK_INL_H_
#else
#define LLMHOST_CPU_DECODE_BLOCK_INL_H_
#endif

#include "hwy/highway.h"
#include "kernels/half.h"
#include "llmhost/dtype.h"

HWY_BEFORE_NAMESPACE();
namespace llmhost::cpu::HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

using BlockTag = hn::CappedTag<float, 16>;  // runs of quants with one scale are 16 or longer

template <int kBias = 0>
HWY_INLINE hn::Vec<BlockTag> quants_as_floats(const int8_t* q) {
  const BlockTag d;
  const hn::Rebind<int32_t, BlockTag> d32;
  const hn::Rebind<int8_t, BlockTag> d8;
  const auto wide = hn::PromoteTo(d32, hn::LoadU(d8, q));
  return hn::ConvertTo(d, kBias == 0 ? wide : hn::Sub(wide, hn::Set(d32, kBias)));
}

// out = scale * (q - kBias)
template <int kCount, int kBias = 0>
HWY_INLINE void scale_run(const int8_t* q, float scale, float* out) {
  const BlockTag d;
  constexpr auto lanes = static_cast<int>(hn::MaxLanes(BlockTag()));
  const auto factor = hn::Set(d, scale);
  for (int i = 0; i < kCount; i += lanes)
    hn::StoreU(hn::Mul(factor, quants_as_floats<kBias>(q + i)), d, out + i);
}

template <int kCount>
HWY_INLINE void scale_run(const int8_t* q, float scale, float offset, float* out) {
  const BlockTag d;
  constexpr auto lanes = static_cast<int>(hn::MaxLanes(BlockTag()));
  const auto factor = hn::Set(d, scale);
  const auto addend = hn::Set(d, offset);
  for (int i = 0; i < kCount; i += lanes)
    hn::StoreU(hn::Add(hn::Mul(factor, quants_as_floats(q + i)), addend), d, out + i);
}

// A block's f16 field; the conversion in hardware equals the scalar one.
HWY_INLINE float load_scale(const uint8_t* p) {
#if HWY_TARGET <= HWY_AVX2
  const hn::FixedTag<hwy::float16_t, 1> df16;
  const hn::FixedTag<float, 1> d;
  return hn::GetLane(hn::PromoteTo(d, hn::LoadU(df16, reinterpret_cast<const hwy::float16_t*>(p))));
#else
  return load_f16(p);
#endif
}

// 16 bytes: low nibbles are elements 0-15, high ones 16-31.
HWY_INLINE void unpack_nibbles(const uint8_t* packed, int8_t* q) {
#if HWY_TARGET == HWY_SCALAR
  for (int i = 0; i < 16; ++i) {
    q[i] = static_cast<int8_t>(packed[i] & 0x0F);
    q[i + 16] = static_cast<int8_t>(packed[i] >> 4);
  }
#else
  const hn::FixedTag<uint8_t, 16> d;
  const hn::FixedTag<int8_t, 16> di;
  const auto bytes = hn::LoadU(d, packed);
  hn::StoreU(hn::BitCast(di, hn::And(bytes, hn::Set(d, 0x0F))), di, q);
  hn::StoreU(hn::BitCast(di, hn::ShiftRight<4>(bytes)), di, q + 16);
#endif
}

// Runs a block's decoder over a row.
template <llmh_dtype kType, void (*kDecode)(const uint8_t*, float*)>
void decode_blocks(const uint8_t* source, int64_t count, float* out) {
  const llmh_dtype_layout layout = llmh_dtype_layout_of(kType);
  for (int64_t i = 0; i < count; i += layout.block_elements, source += layout.block_bytes)
    kDecode(source, out + i);
}

}  // namespace
}  // namespace llmhost::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
