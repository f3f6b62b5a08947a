#define HWY_WANT_AVX3_DL
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/packed_small_k.cpp"
#include "hwy/foreach_target.h"  // must come before highway.h
#include "hwy/highway.h"
#include "kernels/packed_k-inl.h"
#include "kernels/packed_tables.h"

HWY_BEFORE_NAMESPACE();
namespace llmhost::cpu::HWY_NAMESPACE {
namespace {

void fill_packed_small_k(PackedKernels& table) {
  table.by_dtype[LLMH_DTYPE_Q2_K] = packed_format<PackedQ2_K>();
  table.by_dtype[LLMH_DTYPE_Q3_K] = packed_format<PackedQ3_K>();
}

}  // namespace
}  // namespace llmhost::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace llmhost::cpu {
HWY_EXPORT(fill_packed_small_k);
void add_packed_small_k(PackedKernels& table) {
  HWY_DYNAMIC_DISPATCH(fill_packed_small_k)(table);
}
}  // namespace llmhost::cpu
#endif
