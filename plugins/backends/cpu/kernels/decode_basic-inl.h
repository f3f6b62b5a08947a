// Decoders of the 32-element blocks q4_0, q4_1, q5_0, q5_1, q8_0. Exact to the bit.
#if defined(LLMHOST_CPU_DECODE_BASIC_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LLMHOST_CPU_DECODE_BASIC_INL_H_
#undef LLMHOST_CPU_DECODE_BASIC_INL_H_
#else
#define LLMHOST_CPU_DECODE_BASIC_INL_H_
#endif

#include "kernels/decode_block-inl.h"

HWY_BEFORE_NAMESPACE();
namespace llmhost::cpu::HWY_NAMESPACE {
namespace {

HWY_INLINE void block_q4_0(const uint8_t* block, float* out) {
  int8_t q[32];
  unpack_nibbles(block + 2, q);
  scale_run<32, 8>(q, load_scale(block), out);
}

HWY_INLINE void block_q4_1(const uint8_t* block, float* out) {
  int8_t q[32];
  unpack_nibbles(block + 4, q);
  scale_run<32>(q, load_scale(block), load_scale(block + 2), out);
}

// The fifth bit of element i is bit i of the word.
HWY_INLINE void add_fifth_bits(const uint8_t* word, int8_t* q) {
#if HWY_TARGET == HWY_SCALAR
  const auto high = load_as<uint32_t>(word);
  for (uint32_t i = 0; i < 32; ++i)
    q[i] = static_cast<int8_t>(q[i] | static_cast<int8_t>(((high >> i) & 1U) << 4));
#else
  const hn::FixedTag<uint8_t, 16> d;
  const hn::FixedTag<uint32_t, 4> d32;
  HWY_ALIGN constexpr uint8_t kByteOf[16] = {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1};
  HWY_ALIGN constexpr uint8_t kBitOf[16] = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
  const auto bytes = hn::BitCast(d, hn::Set(d32, load_as<uint32_t>(word)));
  const auto bit = hn::Load(d, kBitOf);
  const auto sixteen = hn::Set(d, 16);
  auto* out = reinterpret_cast<uint8_t*>(q);
  for (uint8_t half = 0; half < 2; ++half) {
    const auto index = hn::Add(hn::Load(d, kByteOf), hn::Set(d, static_cast<uint8_t>(2 * half)));
    const auto is_set = hn::TestBit(hn::TableLookupBytes(bytes, index), bit);
    const auto value = hn::Or(hn::LoadU(d, out + 16 * half), hn::IfThenElseZero(is_set, sixteen));
    hn::StoreU(value, d, out + 16 * half);
  }
#endif
}

HWY_INLINE void block_q5_0(const uint8_t* block, float* out) {
  int8_t q[32];
  unpack_nibbles(block + 6, q);
  add_fifth_bits(block + 2, q);
  scale_run<32, 16>(q, load_scale(block), out);
}

HWY_INLINE void block_q5_1(const uint8_t* block, float* out) {
  int8_t q[32];
  unpack_nibbles(block + 8, q);
  add_fifth_bits(block + 4, q);
  scale_run<32>(q, load_scale(block), load_scale(block + 2), out);
}

HWY_INLINE void block_q8_0(const uint8_t* block, float* out) {
  scale_run<32>(reinterpret_cast<const int8_t*>(block + 2), load_scale(block), out);
}

}  // namespace
}  // namespace llmhost::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
