// 16 rows a vector. Included by packed_lanes-inl.h alone.
#include <immintrin.h>

HWY_BEFORE_NAMESPACE();
namespace llmhost::cpu::HWY_NAMESPACE {
namespace {

constexpr int kLanes = 16;
// Tiles: kNarrowVectors vectors of rows times 1 to kNarrowTokens tokens, kWideVectors times kWideTokens or
// one less.
constexpr int kNarrowVectors = 1;
constexpr int kWideVectors = 2;
#if HWY_TARGET == HWY_AVX3_DL
#define LLMHOST_PACKED_QUAD_DOT
constexpr int kNarrowTokens = 8;
constexpr int kWideTokens = 6;
#else
#undef LLMHOST_PACKED_QUAD_DOT
constexpr int kNarrowTokens = 4;
constexpr int kWideTokens = 4;
#endif
using Bytes = __m512i;
using Ints = __m512i;
using Floats = __m512;

HWY_INLINE Bytes load_bytes(const uint8_t* p) {
  return _mm512_loadu_si512(p);
}
HWY_INLINE void store_bytes(Bytes v, uint8_t* p) {
  _mm512_storeu_si512(p, v);
}
HWY_INLINE Bytes fill_bytes(int value) {
  return _mm512_set1_epi8(static_cast<char>(value));
}
// One word for all rows.
HWY_INLINE Bytes fill_words(const int8_t* p) {
  int32_t word;
  __builtin_memcpy(&word, p, sizeof word);
  return _mm512_set1_epi32(word);
}
HWY_INLINE Bytes and_bytes(Bytes a, Bytes b) {
  return _mm512_and_si512(a, b);
}
HWY_INLINE Bytes or_bytes(Bytes a, Bytes b) {
  return _mm512_or_si512(a, b);
}
HWY_INLINE Bytes xor_bytes(Bytes a, Bytes b) {
  return _mm512_xor_si512(a, b);
}
// (a & mask) | b
HWY_INLINE Bytes and_or_bytes(Bytes a, Bytes mask, Bytes b) {
  return _mm512_ternarylogic_epi32(a, mask, b, 0xEA);
}
// Bits cross from byte to byte: a mask follows.
template <int kBits>
HWY_INLINE Bytes shift_left(Bytes v) {
  return _mm512_slli_epi32(v, kBits);
}
template <int kBits>
HWY_INLINE Bytes shift_right(Bytes v) {
  return _mm512_srli_epi32(v, kBits);
}
HWY_INLINE Bytes look_up(const uint8_t* table16, Bytes indices) {
  const __m128i table = _mm_loadu_si128(reinterpret_cast<const __m128i*>(table16));
  return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(table), indices);
}

HWY_INLINE Ints zero_ints() {
  return _mm512_setzero_si512();
}
HWY_INLINE Ints fill_ints(int32_t value) {
  return _mm512_set1_epi32(value);
}
HWY_INLINE Ints add_ints(Ints a, Ints b) {
  return _mm512_add_epi32(a, b);
}
HWY_INLINE Ints mul_ints(Ints a, Ints b) {
  return _mm512_mullo_epi32(a, b);
}
HWY_INLINE Ints load_unsigned(const uint8_t* p) {
  return _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
HWY_INLINE Ints load_signed(const uint8_t* p) {
  return _mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}

HWY_INLINE Ints subtract_ints(Ints a, Ints b) {
  return _mm512_sub_epi32(a, b);
}
template <int kBits>
HWY_INLINE Ints ints_left(Ints v) {
  return _mm512_slli_epi32(v, kBits);
}
template <int kBits>
HWY_INLINE Ints ints_right(Ints v) {
  return _mm512_srli_epi32(v, kBits);
}
HWY_INLINE Floats floats_of_bits(Ints v) {
  return _mm512_castsi512_ps(v);
}

HWY_INLINE Floats zero_floats() {
  return _mm512_setzero_ps();
}
HWY_INLINE Floats fill_floats(float value) {
  return _mm512_set1_ps(value);
}
HWY_INLINE Floats load_floats(const float* p) {
  return _mm512_loadu_ps(p);
}
HWY_INLINE void store_floats(Floats v, float* p) {
  _mm512_storeu_ps(p, v);
}
// The first n rows.
HWY_INLINE Floats load_some(const float* p, int64_t n) {
  return _mm512_maskz_loadu_ps(static_cast<__mmask16>((1U << n) - 1U), p);
}
HWY_INLINE void store_some(Floats v, float* p, int64_t n) {
  _mm512_mask_storeu_ps(p, static_cast<__mmask16>((1U << n) - 1U), v);
}
HWY_INLINE Floats add_floats(Floats a, Floats b) {
  return _mm512_add_ps(a, b);
}
HWY_INLINE Floats mul_floats(Floats a, Floats b) {
  return _mm512_mul_ps(a, b);
}
HWY_INLINE Floats mul_add(Floats a, Floats b, Floats c) {
  return _mm512_fmadd_ps(a, b, c);
}
HWY_INLINE Floats to_floats(Ints v) {
  return _mm512_cvtepi32_ps(v);
}
HWY_INLINE Floats load_halves(const uint8_t* p) {
  // With a mask, though all lanes are meant: gcc 12 warns of the plain form's undefined source.
  return _mm512_maskz_cvtph_ps(0xFFFF, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}

#ifdef LLMHOST_PACKED_QUAD_DOT
// acc + sum of the word's four products, unsigned times signed.
HWY_INLINE Ints add_quad_dot(Ints acc, Bytes codes, Bytes x) {
  return _mm512_dpbusd_epi32(acc, codes, x);
}
#else
using Pairs = __m512i;
// Two products added in i16, with saturation.
HWY_INLINE Pairs pair_dot(Bytes codes, Bytes x) {
  return _mm512_maddubs_epi16(codes, x);
}
HWY_INLINE Pairs add_pairs(Pairs a, Pairs b) {
  return _mm512_add_epi16(a, b);
}
HWY_INLINE Ints sum_pairs(Pairs v) {
  return _mm512_madd_epi16(v, _mm512_set1_epi16(1));
}
// x, negated where the byte of `sign` is negative; any value where it is 0.
HWY_INLINE Bytes copy_sign(Bytes x, Bytes sign) {
  return _mm512_mask_sub_epi8(x, _mm512_movepi8_mask(sign), _mm512_setzero_si512(), x);
}
HWY_INLINE Bytes magnitudes(Bytes v) {
  return _mm512_abs_epi8(v);
}
#endif

}  // namespace
}  // namespace llmhost::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
