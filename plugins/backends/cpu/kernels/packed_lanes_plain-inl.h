// 4 rows a vector in plain code, for instruction sets without a version of their own. Included by
// packed_lanes-inl.h alone.
#include <cstring>

#include "kernels/half.h"

HWY_BEFORE_NAMESPACE();
namespace llmhost::cpu::HWY_NAMESPACE {
namespace {

constexpr int kLanes = 4;
// Tiles: kNarrowVectors vectors of rows times 1 to kNarrowTokens tokens, kWideVectors times kWideTokens or
// one less.
constexpr int kNarrowVectors = 1;
constexpr int kNarrowTokens = 2;
constexpr int kWideVectors = 1;
constexpr int kWideTokens = 2;
#undef LLMHOST_PACKED_QUAD_DOT
#define LLMHOST_PACKED_QUAD_DOT
struct Bytes {
  uint8_t v[4 * kLanes];
};
struct Ints {
  int32_t v[kLanes];
};
struct Floats {
  float v[kLanes];
};

HWY_INLINE Bytes load_bytes(const uint8_t* p) {
  Bytes v;
  std::memcpy(v.v, p, sizeof v.v);
  return v;
}
HWY_INLINE void store_bytes(Bytes v, uint8_t* p) {
  std::memcpy(p, v.v, sizeof v.v);
}
HWY_INLINE Bytes fill_bytes(int value) {
  Bytes v;
  std::memset(v.v, value, sizeof v.v);
  return v;
}
// One word for all rows.
HWY_INLINE Bytes fill_words(const int8_t* p) {
  Bytes v;
  for (int i = 0; i < kLanes; ++i) std::memcpy(v.v + 4 * i, p, 4);
  return v;
}

template <typename Fn>
HWY_INLINE Bytes each_byte(Fn fn) {
  Bytes v;
  for (int i = 0; i < 4 * kLanes; ++i) v.v[i] = static_cast<uint8_t>(fn(i));
  return v;
}
template <typename Fn>
HWY_INLINE Ints each_int(Fn fn) {
  Ints v;
  for (int i = 0; i < kLanes; ++i) v.v[i] = fn(i);
  return v;
}
template <typename Fn>
HWY_INLINE Floats each_float(Fn fn) {
  Floats v;
  for (int i = 0; i < kLanes; ++i) v.v[i] = fn(i);
  return v;
}

HWY_INLINE Bytes and_bytes(Bytes a, Bytes b) {
  return each_byte([&](int i) { return a.v[i] & b.v[i]; });
}
HWY_INLINE Bytes or_bytes(Bytes a, Bytes b) {
  return each_byte([&](int i) { return a.v[i] | b.v[i]; });
}
HWY_INLINE Bytes xor_bytes(Bytes a, Bytes b) {
  return each_byte([&](int i) { return a.v[i] ^ b.v[i]; });
}
// (a & mask) | b
HWY_INLINE Bytes and_or_bytes(Bytes a, Bytes mask, Bytes b) {
  return each_byte([&](int i) { return (a.v[i] & mask.v[i]) | b.v[i]; });
}
template <int kBits>
HWY_INLINE Bytes shift_left(Bytes v) {
  return each_byte([&](int i) { return v.v[i] << kBits; });
}
template <int kBits>
HWY_INLINE Bytes shift_right(Bytes v) {
  return each_byte([&](int i) { return v.v[i] >> kBits; });
}
HWY_INLINE Bytes look_up(const uint8_t* table16, Bytes indices) {
  return each_byte([&](int i) { return table16[indices.v[i] & 0x0F]; });
}

HWY_INLINE Ints fill_ints(int32_t value) {
  return each_int([&](int) { return value; });
}
HWY_INLINE Ints zero_ints() {
  return fill_ints(0);
}
HWY_INLINE Ints add_ints(Ints a, Ints b) {
  return each_int([&](int i) { return a.v[i] + b.v[i]; });
}
HWY_INLINE Ints mul_ints(Ints a, Ints b) {
  return each_int([&](int i) { return a.v[i] * b.v[i]; });
}
HWY_INLINE Ints load_unsigned(const uint8_t* p) {
  return each_int([&](int i) { return int32_t{p[i]}; });
}
HWY_INLINE Ints load_signed(const uint8_t* p) {
  return each_int([&](int i) { return int32_t{static_cast<int8_t>(p[i])}; });
}

HWY_INLINE Floats fill_floats(float value) {
  return each_float([&](int) { return value; });
}
HWY_INLINE Ints subtract_ints(Ints a, Ints b) {
  return each_int([&](int i) { return a.v[i] - b.v[i]; });
}
template <int kBits>
HWY_INLINE Ints ints_left(Ints v) {
  return each_int([&](int i) { return v.v[i] << kBits; });
}
template <int kBits>
HWY_INLINE Ints ints_right(Ints v) {
  return each_int([&](int i) { return v.v[i] >> kBits; });
}
HWY_INLINE Floats floats_of_bits(Ints v) {
  Floats result;
  std::memcpy(result.v, v.v, sizeof v.v);
  return result;
}

HWY_INLINE Floats zero_floats() {
  return fill_floats(0.0F);
}
HWY_INLINE Floats load_floats(const float* p) {
  return each_float([&](int i) { return p[i]; });
}
HWY_INLINE void store_floats(Floats v, float* p) {
  std::memcpy(p, v.v, sizeof v.v);
}
// The first n rows.
HWY_INLINE Floats load_some(const float* p, int64_t n) {
  return each_float([&](int i) { return i < n ? p[i] : 0.0F; });
}
HWY_INLINE void store_some(Floats v, float* p, int64_t n) {
  for (int i = 0; i < n; ++i) p[i] = v.v[i];
}
HWY_INLINE Floats add_floats(Floats a, Floats b) {
  return each_float([&](int i) { return a.v[i] + b.v[i]; });
}
HWY_INLINE Floats mul_floats(Floats a, Floats b) {
  return each_float([&](int i) { return a.v[i] * b.v[i]; });
}
HWY_INLINE Floats mul_add(Floats a, Floats b, Floats c) {
#if HWY_NATIVE_FMA
  return each_float([&](int i) { return __builtin_fmaf(a.v[i], b.v[i], c.v[i]); });
#else
  return add_floats(mul_floats(a, b), c);
#endif
}
HWY_INLINE Floats to_floats(Ints v) {
  return each_float([&](int i) { return static_cast<float>(v.v[i]); });
}
HWY_INLINE Floats load_halves(const uint8_t* p) {
  return each_float([&](int i) { return load_f16(p + 2 * i); });
}

// acc + sum of the word's four products, unsigned times signed.
HWY_INLINE Ints add_quad_dot(Ints acc, Bytes codes, Bytes x) {
  return each_int([&](int i) {
    int32_t sum = acc.v[i];
    for (int j = 4 * i; j < 4 * i + 4; ++j) sum += codes.v[j] * static_cast<int8_t>(x.v[j]);
    return sum;
  });
}

}  // namespace
}  // namespace llmhost::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
