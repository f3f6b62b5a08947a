// Decoders of unquantised rows. Exact.
#if defined(LLMHOST_CPU_DECODE_PLAIN_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LLMHOST_CPU_DECODE_PLAIN_INL_H_
#undef LLMHOST_CPU_DECODE_PLAIN_INL_H_
#else
#define LLMHOST_CPU_DECODE_PLAIN_INL_H_
#endif

#include <cstring>

#include "hwy/highway.h"
#include "kernels/half.h"

HWY_BEFORE_NAMESPACE();
namespace llmhost::cpu::HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

void decode_f32(const uint8_t* source, int64_t count, float* out) {
  std::memcpy(out, source, static_cast<size_t>(count) * sizeof(float));
}

void decode_f64(const uint8_t* source, int64_t count, float* out) {
  for (int64_t i = 0; i < count; ++i) out[i] = static_cast<float>(load_as<double>(source + 8 * i));
}

void decode_bf16(const uint8_t* source, int64_t count, float* out) {
  const hn::ScalableTag<float> d;
  const hn::Rebind<uint32_t, decltype(d)> du32;
  const hn::Rebind<uint16_t, decltype(d)> du16;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  int64_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    const auto bits = hn::LoadU(du16, reinterpret_cast<const uint16_t*>(source + 2 * i));
    hn::StoreU(hn::BitCast(d, hn::ShiftLeft<16>(hn::PromoteTo(du32, bits))), d, out + i);
  }
  for (; i < count; ++i) out[i] = bf16_to_f32(load_as<uint16_t>(source + 2 * i));
}

void decode_f16(const uint8_t* source, int64_t count, float* out) {
  int64_t i = 0;
#if HWY_TARGET <= HWY_AVX2  // these convert in hardware; the library's emulation elsewhere loses infinities
  const hn::ScalableTag<float> d;
  const hn::Rebind<hwy::float16_t, decltype(d)> df16;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  for (; i + lanes <= count; i += lanes) {
    const auto half = hn::LoadU(df16, reinterpret_cast<const hwy::float16_t*>(source + 2 * i));
    hn::StoreU(hn::PromoteTo(d, half), d, out + i);
  }
#endif
  for (; i < count; ++i) out[i] = load_f16(source + 2 * i);
}

}  // namespace
}  // namespace llmhost::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
