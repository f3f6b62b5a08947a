// 4 rows a vector. Included by packed_lanes-inl.h alone.
#include <immintrin.h>

#include <cstring>

#include "kernels/half.h"

HWY_BEFORE_NAMESPACE();
namespace llmhost::cpu::HWY_NAMESPACE {
namespace {

constexpr int kLanes = 4;
// Tiles: kNarrowVectors vectors of rows times 1 to kNarrowTokens tokens, kWideVectors times kWideTokens or
// one less.
constexpr int kNarrowVectors = 2;
constexpr int kNarrowTokens = 3;
constexpr int kWideVectors = 2;
constexpr int kWideTokens = 3;
#undef LLMHOST_PACKED_QUAD_DOT
using Bytes = __m128i;
using Ints = __m128i;
using Pairs = __m128i;
using Floats = __m128;

HWY_INLINE Bytes load_bytes(const uint8_t* p) {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
}
HWY_INLINE void store_bytes(Bytes v, uint8_t* p) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), v);
}
HWY_INLINE Bytes fill_bytes(int value) {
  return _mm_set1_epi8(static_cast<char>(value));
}
// One word for all rows.
HWY_INLINE Bytes fill_words(const int8_t* p) {
  int32_t word;
  __builtin_memcpy(&word, p, sizeof word);
  return _mm_set1_epi32(word);
}
HWY_INLINE Bytes and_bytes(Bytes a, Bytes b) {
  return _mm_and_si128(a, b);
}
HWY_INLINE Bytes or_bytes(Bytes a, Bytes b) {
  return _mm_or_si128(a, b);
}
HWY_INLINE Bytes xor_bytes(Bytes a, Bytes b) {
  return _mm_xor_si128(a, b);
}
// (a & mask) | b
HWY_INLINE Bytes and_or_bytes(Bytes a, Bytes mask, Bytes b) {
  return _mm_or_si128(_mm_and_si128(a, mask), b);
}
// Bits cross from byte to byte: a mask follows.
template <int kBits>
HWY_INLINE Bytes shift_left(Bytes v) {
  return _mm_slli_epi32(v, kBits);
}
template <int kBits>
HWY_INLINE Bytes shift_right(Bytes v) {
  return _mm_srli_epi32(v, kBits);
}
HWY_INLINE Bytes look_up(const uint8_t* table16, Bytes indices) {
  return _mm_shuffle_epi8(load_bytes(table16), indices);
}

HWY_INLINE Ints zero_ints() {
  return _mm_setzero_si128();
}
HWY_INLINE Ints fill_ints(int32_t value) {
  return _mm_set1_epi32(value);
}
HWY_INLINE Ints add_ints(Ints a, Ints b) {
  return _mm_add_epi32(a, b);
}
HWY_INLINE Ints mul_ints(Ints a, Ints b) {
  return _mm_mullo_epi32(a, b);
}
HWY_INLINE Ints load_unsigned(const uint8_t* p) {
  return _mm_cvtepu8_epi32(_mm_cvtsi32_si128(load_as<int32_t>(p)));
}
HWY_INLINE Ints load_signed(const uint8_t* p) {
  return _mm_cvtepi8_epi32(_mm_cvtsi32_si128(load_as<int32_t>(p)));
}

HWY_INLINE Ints subtract_ints(Ints a, Ints b) {
  return _mm_sub_epi32(a, b);
}
template <int kBits>
HWY_INLINE Ints ints_left(Ints v) {
  return _mm_slli_epi32(v, kBits);
}
template <int kBits>
HWY_INLINE Ints ints_right(Ints v) {
  return _mm_srli_epi32(v, kBits);
}
HWY_INLINE Floats floats_of_bits(Ints v) {
  return _mm_castsi128_ps(v);
}

HWY_INLINE Floats zero_floats() {
  return _mm_setzero_ps();
}
HWY_INLINE Floats fill_floats(float value) {
  return _mm_set1_ps(value);
}
HWY_INLINE Floats load_floats(const float* p) {
  return _mm_loadu_ps(p);
}
HWY_INLINE void store_floats(Floats v, float* p) {
  _mm_storeu_ps(p, v);
}
// The first n rows.
HWY_INLINE Floats load_some(const float* p, int64_t n) {
  if (n == kLanes) return load_floats(p);
  alignas(16) float values[kLanes] = {};
  std::memcpy(values, p, static_cast<size_t>(n) * sizeof(float));
  return load_floats(values);
}
HWY_INLINE void store_some(Floats v, float* p, int64_t n) {
  if (n == kLanes) return store_floats(v, p);
  alignas(16) float values[kLanes];
  store_floats(v, values);
  std::memcpy(p, values, static_cast<size_t>(n) * sizeof(float));
}
HWY_INLINE Floats add_floats(Floats a, Floats b) {
  return _mm_add_ps(a, b);
}
HWY_INLINE Floats mul_floats(Floats a, Floats b) {
  return _mm_mul_ps(a, b);
}
HWY_INLINE Floats mul_add(Floats a, Floats b, Floats c) {
  return _mm_add_ps(_mm_mul_ps(a, b), c);  // no fma: two roundings
}
HWY_INLINE Floats to_floats(Ints v) {
  return _mm_cvtepi32_ps(v);
}
HWY_INLINE Floats load_halves(const uint8_t* p) {
  return _mm_setr_ps(load_f16(p), load_f16(p + 2), load_f16(p + 4), load_f16(p + 6));
}

// Two products added in i16, with saturation.
HWY_INLINE Pairs pair_dot(Bytes codes, Bytes x) {
  return _mm_maddubs_epi16(codes, x);
}
HWY_INLINE Pairs add_pairs(Pairs a, Pairs b) {
  return _mm_add_epi16(a, b);
}
HWY_INLINE Ints sum_pairs(Pairs v) {
  return _mm_madd_epi16(v, _mm_set1_epi16(1));
}
// x, negated where the byte of `sign` is negative; any value where it is 0.
HWY_INLINE Bytes copy_sign(Bytes x, Bytes sign) {
  return _mm_sign_epi8(x, sign);
}
HWY_INLINE Bytes magnitudes(Bytes v) {
  return _mm_abs_epi8(v);
}

}  // namespace
}  // namespace llmhost::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
