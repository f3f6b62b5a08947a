#define HWY_WANT_AVX3_DL
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/packed_basic.cpp"
#include "hwy/foreach_target.h"  // must come before highway.h
#include "hwy/highway.h"
#include "kernels/packed_basic-inl.h"
#include "kernels/packed_tables.h"

HWY_BEFORE_NAMESPACE();
namespace llmhost::cpu::HWY_NAMESPACE {
namespace {

void fill_packed_basic(PackedKernels& table) {
  table.by_dtype[LLMH_DTYPE_Q4_0] = packed_format<PackedQ4_0>();
  table.by_dtype[LLMH_DTYPE_Q4_1] = packed_format<PackedQ4_1>();
  table.by_dtype[LLMH_DTYPE_Q8_0] = packed_format<PackedQ8_0>();
  table.by_dtype[LLMH_DTYPE_I8_32] = packed_format<PackedI8_32>();
}

}  // namespace
}  // namespace llmhost::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace llmhost::cpu {
HWY_EXPORT(fill_packed_basic);
void add_packed_basic(PackedKernels& table) {
  HWY_DYNAMIC_DISPATCH(fill_packed_basic)(table);
}
}  // namespace llmhost::cpu
#endif
