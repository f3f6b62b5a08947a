#define HWY_WANT_AVX3_DL
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/packed_five.cpp"
#include "hwy/foreach_target.h"  // must come before highway.h
#include "hwy/highway.h"
#include "kernels/packed_basic-inl.h"
#include "kernels/packed_tables.h"

HWY_BEFORE_NAMESPACE();
namespace llmhost::cpu::HWY_NAMESPACE {
namespace {

void fill_packed_five(PackedKernels& table) {
  table.by_dtype[LLMH_DTYPE_Q5_0] = packed_format<PackedQ5_0>();
  table.by_dtype[LLMH_DTYPE_Q5_1] = packed_format<PackedQ5_1>();
}

}  // namespace
}  // namespace llmhost::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace llmhost::cpu {
HWY_EXPORT(fill_packed_five);
void add_packed_five(PackedKernels& table) {
  HWY_DYNAMIC_DISPATCH(fill_packed_five)(table);
}
}  // namespace llmhost::cpu
#endif
