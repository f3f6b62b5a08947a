#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/state.cpp"
#include <algorithm>
#include <cmath>
#include <cstring>

#include "hwy/foreach_target.h"  // must come before highway.h
#include "hwy/highway.h"
#include "kernels/half.h"
#include "kernels/kernels.h"
#include "kernels/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace llmhost::cpu::HWY_NAMESPACE {
namespace {

constexpr int64_t kStrip = 64;  // elements of a row that are transposed together
constexpr int64_t kRun = 16;    // rows

// Saturates: an infinity in one row would reach rows that may not even see it, as 0 * inf.
constexpr float kLargestF16 = 65504.0F;

struct F32Store {
  using Element = float;
  static void convert(const float* x, int64_t n, float* out) {
    std::memcpy(out, x, static_cast<size_t>(n) * sizeof(float));
  }
};

struct F16Store {
  using Element = uint16_t;
  static void convert(const float* x, int64_t n, uint16_t* out) {
    int64_t i = 0;
#if HWY_TARGET <= HWY_AVX2
    const F32 d;
    const hn::Rebind<hwy::float16_t, F32> df16;
    const Floats most = hn::Set(d, kLargestF16);
    for (; i + lane_count() <= n; i += lane_count()) {
      const Floats v = hn::LoadU(d, x + i);
      const Floats near = hn::Max(hn::Min(v, most), hn::Neg(most));
      const Floats kept = hn::IfThenElse(hn::IsNaN(v), v, near);
      hn::StoreU(hn::DemoteTo(df16, kept), df16, reinterpret_cast<hwy::float16_t*>(out + i));
    }
#endif
    for (; i < n; ++i) out[i] = f32_to_f16(std::clamp(x[i], -kLargestF16, kLargestF16));
  }
};

struct Bf16Store {
  using Element = uint16_t;
  static void convert(const float* x, int64_t n, uint16_t* out) {
    for (int64_t i = 0; i < n; ++i) out[i] = f32_to_bf16(x[i]);
  }
};

template <typename Store>
void write_values(const StateRows& r) {
  auto* out = reinterpret_cast<typename Store::Element*>(r.data);
  Store::convert(r.rows, r.count * r.width, out);
}

template <typename Store>
void write_keys(const StateRows& r) {
  using Element = typename Store::Element;
  Element strip[kRun][kStrip];
  for (int64_t first = 0; first < r.count; first += kRun) {
    const int64_t rows = std::min(kRun, r.count - first);
    for (int64_t begin = 0; begin < r.width; begin += kStrip) {
      const int64_t n = std::min(kStrip, r.width - begin);
      for (int64_t t = 0; t < rows; ++t) Store::convert(r.rows + (first + t) * r.width + begin, n, strip[t]);
      Element* out = reinterpret_cast<Element*>(r.data) + begin * r.stride + first;
      for (int64_t i = 0; i < n; ++i, out += r.stride)
        for (int64_t t = 0; t < rows; ++t) out[t] = strip[t][i];
    }
  }
}

// --- Blocks of 32 with a scale
// ---------------------------------------------------------------------------------

// Quantises n <= 32 elements; returns the scale's bits. A NaN makes the whole block NaN.
uint16_t quantise(const float* x, int64_t n, int8_t* out) {
  float most = 0.0F;
  bool has_nan = false;
  for (int64_t i = 0; i < n; ++i) {
    most = std::max(most, std::abs(x[i]));
    has_nan |= x[i] != x[i];
  }
  const uint16_t bits = f32_to_f16(has_nan ? __builtin_nanf("") : std::min(most / 127.0F, kLargestF16));
  const float scale = f16_to_f32(bits);
  const float inverse = scale > 0.0F ? 1.0F / scale : 0.0F;
  for (int64_t i = 0; i < n; ++i)
    out[i] = has_nan ? int8_t{0}
                     : static_cast<int8_t>(std::nearbyint(std::clamp(x[i] * inverse, -127.0F, 127.0F)));
  return bits;
}

void write_values_q8(const StateRows& r) {
  auto* scales = reinterpret_cast<uint16_t*>(r.scales);
  for (int64_t t = 0; t < r.count; ++t)
    for (int64_t begin = 0; begin < r.width; begin += kStateScaleBlock) {
      const int64_t at = t * r.width + begin;
      scales[begin / kStateScaleBlock * r.stride + t] = quantise(
          r.rows + at, std::min(kStateScaleBlock, r.width - begin), reinterpret_cast<int8_t*>(r.data) + at);
    }
}

void write_keys_q8(const StateRows& r) {
  auto* scales = reinterpret_cast<uint16_t*>(r.scales);
  int8_t strip[kStateScaleBlock];
  for (int64_t t = 0; t < r.count; ++t)
    for (int64_t begin = 0; begin < r.width; begin += kStateScaleBlock) {
      const int64_t n = std::min(kStateScaleBlock, r.width - begin);
      scales[begin / kStateScaleBlock * r.stride + t] = quantise(r.rows + t * r.width + begin, n, strip);
      int8_t* out = reinterpret_cast<int8_t*>(r.data) + begin * r.stride + t;
      for (int64_t i = 0; i < n; ++i) out[i * r.stride] = strip[i];
    }
}

StateKernels state_table() {
  return {{write_keys<F32Store>, write_keys<F16Store>, write_keys<Bf16Store>, write_keys_q8},
          {write_values<F32Store>, write_values<F16Store>, write_values<Bf16Store>, write_values_q8}};
}

}  // namespace
}  // namespace llmhost::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace llmhost::cpu {
HWY_EXPORT(state_table);
StateKernels state_kernels() {
  return HWY_DYNAMIC_DISPATCH(state_table)();
}
}  // namespace llmhost::cpu
#endif
