#define HWY_WANT_AVX3_DL
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/packed_k.cpp"
#include "hwy/foreach_target.h"  // must come before highway.h
#include "hwy/highway.h"
#include "kernels/packed_k-inl.h"
#include "kernels/packed_tables.h"

HWY_BEFORE_NAMESPACE();
namespace llmhost::cpu::HWY_NAMESPACE {
namespace {

void fill_packed_k(PackedKernels& table) {
  table.by_dtype[LLMH_DTYPE_Q4_K] = packed_format<PackedQ4_K>();
  table.by_dtype[LLMH_DTYPE_Q5_K] = packed_format<PackedQ5_K>();
  table.by_dtype[LLMH_DTYPE_Q6_K] = packed_format<PackedQ6_K>();
}

}  // namespace
}  // namespace llmhost::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace llmhost::cpu {
HWY_EXPORT(fill_packed_k);
void add_packed_k(PackedKernels& table) {
  HWY_DYNAMIC_DISPATCH(fill_packed_k)(table);
}
}  // namespace llmhost::cpu
#endif
