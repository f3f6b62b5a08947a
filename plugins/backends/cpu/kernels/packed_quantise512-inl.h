// Four blocks of activations at once: their greatest magnitudes, divisions and sums share vectors. The same
// bits as one by one. Included by packed.cpp alone, for instruction sets with vectors of 512 bits.
#include <immintrin.h>

HWY_BEFORE_NAMESPACE();
namespace llmhost::cpu::HWY_NAMESPACE {
namespace {

// The reduction of each of four vectors, in the four lanes of the result.
template <typename Op>
HWY_INLINE __m128i reduce_four(__m512i a, __m512i b, __m512i c, __m512i d, const Op& op) {
  const __m512i ab = op(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
  const __m512i cd = op(_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
  const __m512i all = op(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
  const __m512i halves = op(all, _mm512_shuffle_i64x2(all, all, 0x4E));
  const __m512i quarters = op(halves, _mm512_shuffle_i64x2(halves, halves, 0xB1));
  return _mm512_castsi512_si128(quarters);
}

// What follows the integers of a block, for four of them.
HWY_INLINE void store_sums(__m128 scale, __m128i first, __m128i second, ActivationBlock* blocks) {
  const __m128i sum = _mm_add_epi32(first, second);
  __m128 floats[4] = {scale, _mm_mul_ps(scale, _mm_cvtepi32_ps(sum)),
                      _mm_mul_ps(scale, _mm_cvtepi32_ps(first)), _mm_mul_ps(scale, _mm_cvtepi32_ps(second))};
  const __m128i zero = _mm_setzero_si128();
  __m128 ints[4] = {_mm_castsi128_ps(_mm_sub_epi32(zero, sum)), _mm_castsi128_ps(_mm_sub_epi32(zero, first)),
                    _mm_castsi128_ps(_mm_sub_epi32(zero, second)), _mm_setzero_ps()};
  _MM_TRANSPOSE4_PS(floats[0], floats[1], floats[2], floats[3]);
  _MM_TRANSPOSE4_PS(ints[0], ints[1], ints[2], ints[3]);
  for (int i = 0; i < 4; ++i) {
    _mm_storeu_ps(&blocks[i].scale, floats[i]);
    _mm_storeu_ps(reinterpret_cast<float*>(&blocks[i].negative_sum), ints[i]);
  }
}

// False, with nothing written, when one of the blocks is zero or not finite.
HWY_INLINE bool quantise_four(const float* x, ActivationBlock* blocks) {
  const __m512i mask = _mm512_set1_epi32(0x7FFFFFFF);
  __m512i magnitude[4];
  for (int i = 0; i < 4; ++i) {
    const __m512i low = _mm512_loadu_si512(x + 32 * i);
    const __m512i high = _mm512_loadu_si512(x + 32 * i + 16);
    magnitude[i] = _mm512_max_epi32(_mm512_and_si512(low, mask), _mm512_and_si512(high, mask));
  }
  const auto larger = [](__m512i a, __m512i b) { return _mm512_max_epi32(a, b); };
  const __m128i bits = reduce_four(magnitude[0], magnitude[1], magnitude[2], magnitude[3], larger);
  const __m128i is_odd = _mm_or_si128(_mm_cmplt_epi32(bits, _mm_set1_epi32(kSmallest)),
                                      _mm_cmpgt_epi32(bits, _mm_set1_epi32(kInfinity - 1)));
  if (_mm_movemask_epi8(is_odd) != 0) return false;
  const __m128 greatest = _mm_castsi128_ps(bits);
  alignas(16) float inverse[4];
  _mm_store_ps(inverse, _mm_div_ps(_mm_set1_ps(127.0F), greatest));
  __m512i integers[2][4];
  for (int i = 0; i < 4; ++i)
    for (int half = 0; half < 2; ++half) {
      const __m512 scaled =
          _mm512_mul_ps(_mm512_loadu_ps(x + 32 * i + 16 * half), _mm512_set1_ps(inverse[i]));
      integers[half][i] = _mm512_cvtps_epi32(scaled);
      _mm_storeu_si128(reinterpret_cast<__m128i*>(blocks[i].q + 16 * half),
                       _mm512_cvtepi32_epi8(integers[half][i]));
    }
  const auto plus = [](__m512i a, __m512i b) { return _mm512_add_epi32(a, b); };
  const auto sums = [&](const __m512i* of) { return reduce_four(of[0], of[1], of[2], of[3], plus); };
  store_sums(_mm_div_ps(greatest, _mm_set1_ps(127.0F)), sums(integers[0]), sums(integers[1]), blocks);
  return true;
}

}  // namespace
}  // namespace llmhost::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
