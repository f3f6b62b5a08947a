#define HWY_WANT_AVX3_DL
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/packed_table.cpp"
#include "hwy/foreach_target.h"  // must come before highway.h
#include "hwy/highway.h"
#include "kernels/packed_table-inl.h"
#include "kernels/packed_tables.h"

HWY_BEFORE_NAMESPACE();
namespace llmhost::cpu::HWY_NAMESPACE {
namespace {

void fill_packed_table(PackedKernels& table) {
  table.by_dtype[LLMH_DTYPE_IQ4_NL] = packed_format<PackedIq4Nl>();
  table.by_dtype[LLMH_DTYPE_IQ4_XS] = packed_format<PackedIq4Xs>();
  table.by_dtype[LLMH_DTYPE_MXFP4] = packed_format<PackedMxfp4>();
  table.by_dtype[LLMH_DTYPE_NVFP4] = packed_format<PackedNvfp4>();
}

}  // namespace
}  // namespace llmhost::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace llmhost::cpu {
HWY_EXPORT(fill_packed_table);
void add_packed_table(PackedKernels& table) {
  HWY_DYNAMIC_DISPATCH(fill_packed_table)(table);
}
}  // namespace llmhost::cpu
#endif
