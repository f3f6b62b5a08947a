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
  unpack_nibbles(block + 2, 8, q);
  scale_run<32>(q, load_f16(block), out);
}

HWY_INLINE void block_q4_1(const uint8_t* block, float* out) {
  int8_t q[32];
  unpack_nibbles(block + 4, 0, q);
  scale_run<32>(q, load_f16(block), load_f16(block + 2), out);
}

// The fifth bit of element i is bit i of the word.
HWY_INLINE void add_fifth_bits(const uint8_t* word, int bias, int8_t* q) {
  const auto high = load_as<uint32_t>(word);
  for (uint32_t i = 0; i < 32; ++i) {
    const auto bit = static_cast<int>((high >> i) & 1U);
    q[i] = static_cast<int8_t>(q[i] + bit * 16 - bias);
  }
}

HWY_INLINE void block_q5_0(const uint8_t* block, float* out) {
  int8_t q[32];
  unpack_nibbles(block + 6, 0, q);
  add_fifth_bits(block + 2, 16, q);
  scale_run<32>(q, load_f16(block), out);
}

HWY_INLINE void block_q5_1(const uint8_t* block, float* out) {
  int8_t q[32];
  unpack_nibbles(block + 8, 0, q);
  add_fifth_bits(block + 4, 0, q);
  scale_run<32>(q, load_f16(block), load_f16(block + 2), out);
}

HWY_INLINE void block_q8_0(const uint8_t* block, float* out) {
  scale_run<32>(reinterpret_cast<const int8_t*>(block + 2), load_f16(block), out);
}

}  // namespace
}  // namespace llmhost::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
