#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/gemm.cpp"
#include "hwy/foreach_target.h"  // must come before highway.h
#include "hwy/highway.h"
#include "kernels/gemm_pack-inl.h"
#include "kernels/kernels.h"

HWY_BEFORE_NAMESPACE();
namespace llmhost::cpu::HWY_NAMESPACE {
namespace {

GemmKernels gemm_table() {
  GemmKernels t;
  t.tile_rows = kGemmTileRows;
  t.columns = kGemmColumns;
  t.f32 = gemm_any_rows<GemmF32, kGemmTileRows>;
  t.turn = turn;
  t.spread = spread;
  t.bf16 = nullptr;
  t.turn_bf16 = nullptr;
  t.spread_bf16 = nullptr;
  t.spread_pairs = nullptr;
#if HWY_TARGET == HWY_AVX3
  t.bf16 = gemm_any_rows<GemmBf16, kGemmTileRows>;
  t.turn_bf16 = turn_bf16;
  t.spread_bf16 = spread_bf16;
  t.spread_pairs = spread_pairs;
#endif
  return t;
}

}  // namespace
}  // namespace llmhost::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace llmhost::cpu {
HWY_EXPORT(gemm_table);
GemmKernels gemm_kernels() {
  return HWY_DYNAMIC_DISPATCH(gemm_table)();
}
}  // namespace llmhost::cpu
#endif
