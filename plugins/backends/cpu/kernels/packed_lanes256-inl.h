// 8 rows a vector. Included by packed_lanes-inl.h alone.
#include <immintrin.h>

HWY_BEFORE_NAMESPACE();
namespace llmhost::cpu::HWY_NAMESPACE {
namespace {

constexpr int kLanes = 8;
// Tiles: kNarrowVectors vectors of rows times 1 to kNarrowTokens tokens, kWideVectors times kWideTokens or
// one less.
constexpr int kNarrowVectors = 2;
constexpr int kNarrowTokens = 3;
constexpr int kWideVectors = 2;
constexpr int kWideTokens = 3;
#undef LLMHOST_PACKED_QUAD_DOT
using Bytes = __m256i;
using Ints = __m256i;
using Pairs = __m256i;
using Floats = __m256;

HWY_INLINE Bytes load_bytes(const uint8_t* p) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
}
HWY_INLINE void store_bytes(Bytes v, uint8_t* p) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), v);
}
HWY_INLINE Bytes fill_bytes(int value) {
  return _mm256_set1_epi8(static_cast<char>(value));
}
// One word for all rows.
HWY_INLINE Bytes fill_words(const int8_t* p) {
  int32_t word;
  __builtin_memcpy(&word, p, sizeof word);
  return _mm256_set1_epi32(word);
}
HWY_INLINE Bytes and_bytes(Bytes a, Bytes b) {
  return _mm256_and_si256(a, b);
}
HWY_INLINE Bytes or_bytes(Bytes a, Bytes b) {
  return _mm256_or_si256(a, b);
}
HWY_INLINE Bytes xor_bytes(Bytes a, Bytes b) {
  return _mm256_xor_si256(a, b);
}
// (a & mask) | b
HWY_INLINE Bytes and_or_bytes(Bytes a, Bytes mask, Bytes b) {
  return _mm256_or_si256(_mm256_and_si256(a, mask), b);
}
// Bits cross from byte to byte: a mask follows.
template <int kBits>
HWY_INLINE Bytes shift_left(Bytes v) {
  return _mm256_slli_epi32(v, kBits);
}
template <int kBits>
HWY_INLINE Bytes shift_right(Bytes v) {
  return _mm256_srli_epi32(v, kBits);
}
HWY_INLINE Bytes look_up(const uint8_t* table16, Bytes indices) {
  const __m128i table = _mm_loadu_si128(reinterpret_cast<const __m128i*>(table16));
  return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(table), indices);
}

HWY_INLINE Ints zero_ints() {
  return _mm256_setzero_si256();
}
HWY_INLINE Ints fill_ints(int32_t value) {
  return _mm256_set1_epi32(value);
}
HWY_INLINE Ints add_ints(Ints a, Ints b) {
  return _mm256_add_epi32(a, b);
}
HWY_INLINE Ints mul_ints(Ints a, Ints b) {
  return _mm256_mullo_epi32(a, b);
}
HWY_INLINE Ints load_unsigned(const uint8_t* p) {
  return _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
}
HWY_INLINE Ints load_signed(const uint8_t* p) {
  return _mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
}

HWY_INLINE Ints subtract_ints(Ints a, Ints b) {
  return _mm256_sub_epi32(a, b);
}
template <int kBits>
HWY_INLINE Ints ints_left(Ints v) {
  return _mm256_slli_epi32(v, kBits);
}
template <int kBits>
HWY_INLINE Ints ints_right(Ints v) {
  return _mm256_srli_epi32(v, kBits);
}
HWY_INLINE Floats floats_of_bits(Ints v) {
  return _mm256_castsi256_ps(v);
}

HWY_INLINE Floats zero_floats() {
  return _mm256_setzero_ps();
}
HWY_INLINE Floats fill_floats(float value) {
  return _mm256_set1_ps(value);
}
HWY_INLINE Floats load_floats(const float* p) {
  return _mm256_loadu_ps(p);
}
HWY_INLINE void store_floats(Floats v, float* p) {
  _mm256_storeu_ps(p, v);
}
HWY_INLINE __m256i first_rows(int64_t n) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int32_t>(n)),
                            _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
// The first n rows.
HWY_INLINE Floats load_some(const float* p, int64_t n) {
  return _mm256_maskload_ps(p, first_rows(n));
}
HWY_INLINE void store_some(Floats v, float* p, int64_t n) {
  _mm256_maskstore_ps(p, first_rows(n), v);
}
HWY_INLINE Floats add_floats(Floats a, Floats b) {
  return _mm256_add_ps(a, b);
}
HWY_INLINE Floats mul_floats(Floats a, Floats b) {
  return _mm256_mul_ps(a, b);
}
HWY_INLINE Floats mul_add(Floats a, Floats b, Floats c) {
  return _mm256_fmadd_ps(a, b, c);
}
HWY_INLINE Floats to_floats(Ints v) {
  return _mm256_cvtepi32_ps(v);
}
HWY_INLINE Floats load_halves(const uint8_t* p) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}

// Two products added in i16, with saturation.
HWY_INLINE Pairs pair_dot(Bytes codes, Bytes x) {
  return _mm256_maddubs_epi16(codes, x);
}
HWY_INLINE Pairs add_pairs(Pairs a, Pairs b) {
  return _mm256_add_epi16(a, b);
}
HWY_INLINE Ints sum_pairs(Pairs v) {
  return _mm256_madd_epi16(v, _mm256_set1_epi16(1));
}
// x, negated where the byte of `sign` is negative; any value where it is 0.
HWY_INLINE Bytes copy_sign(Bytes x, Bytes sign) {
  return _mm256_sign_epi8(x, sign);
}
HWY_INLINE Bytes magnitudes(Bytes v) {
  return _mm256_abs_epi8(v);
}

}  // namespace
}  // namespace llmhost::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
