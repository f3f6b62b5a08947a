// Vectors of the packed kernels: kLanes rows, for each of which a Bytes holds 4 bytes (one word), an Ints or
// a Floats one number. The tiles and formats are written over these alone.
#if defined(LLMHOST_CPU_PACKED_LANES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LLMHOST_CPU_PACKED_LANES_INL_H_
#undef LLMHOST_CPU_PACKED_LANES_INL_H_
#else
#define LLMHOST_CPU_PACKED_LANES_INL_H_
#endif

#include "hwy/highway.h"

// The library's name for this target lacks the instruction that it stands for here.
#if HWY_TARGET == HWY_AVX3_DL
#undef HWY_TARGET_STR
#define HWY_TARGET_STR HWY_TARGET_STR_AVX3 ",avx512vnni,avx512vbmi"
#endif

#if HWY_TARGET == HWY_AVX3_DL || HWY_TARGET == HWY_AVX3
#include "kernels/packed_lanes512-inl.h"
#elif HWY_TARGET == HWY_AVX2
#include "kernels/packed_lanes256-inl.h"
#elif HWY_TARGET == HWY_SSE4
#include "kernels/packed_lanes128-inl.h"
#else
#include "kernels/packed_lanes_plain-inl.h"
#endif
#endif
