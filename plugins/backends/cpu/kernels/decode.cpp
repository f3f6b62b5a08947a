#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/decode.cpp"
#include "hwy/foreach_target.h"  // must come before highway.h
#include "hwy/highway.h"
#include "kernels/decode_basic-inl.h"
#include "kernels/decode_codes-inl.h"
#include "kernels/decode_iq-inl.h"
#include "kernels/decode_k-inl.h"
#include "kernels/decode_plain-inl.h"
#include "kernels/kernels.h"
#include "llmhost/block_decode.hpp"

HWY_BEFORE_NAMESPACE();
namespace llmhost::cpu::HWY_NAMESPACE {
namespace {

DecodeKernels decode_table() {
  DecodeKernels t;
  t.by_dtype[LLMH_DTYPE_F32] = decode_f32;
  t.by_dtype[LLMH_DTYPE_F16] = decode_f16;
  t.by_dtype[LLMH_DTYPE_BF16] = decode_bf16;
  t.by_dtype[LLMH_DTYPE_F64] = decode_f64;
  t.by_dtype[LLMH_DTYPE_Q4_0] = decode_blocks<LLMH_DTYPE_Q4_0, block_q4_0>;
  t.by_dtype[LLMH_DTYPE_Q4_1] = decode_blocks<LLMH_DTYPE_Q4_1, block_q4_1>;
  t.by_dtype[LLMH_DTYPE_Q5_0] = decode_blocks<LLMH_DTYPE_Q5_0, block_q5_0>;
  t.by_dtype[LLMH_DTYPE_Q5_1] = decode_blocks<LLMH_DTYPE_Q5_1, block_q5_1>;
  t.by_dtype[LLMH_DTYPE_Q8_0] = decode_blocks<LLMH_DTYPE_Q8_0, block_q8_0>;
  t.by_dtype[LLMH_DTYPE_Q2_K] = decode_blocks<LLMH_DTYPE_Q2_K, block_q2_k>;
  t.by_dtype[LLMH_DTYPE_Q3_K] = decode_blocks<LLMH_DTYPE_Q3_K, block_q3_k>;
  t.by_dtype[LLMH_DTYPE_Q4_K] = decode_blocks<LLMH_DTYPE_Q4_K, block_q4_k>;
  t.by_dtype[LLMH_DTYPE_Q5_K] = decode_blocks<LLMH_DTYPE_Q5_K, block_q5_k>;
  t.by_dtype[LLMH_DTYPE_Q6_K] = decode_blocks<LLMH_DTYPE_Q6_K, block_q6_k>;
  t.by_dtype[LLMH_DTYPE_IQ4_NL] = decode_blocks<LLMH_DTYPE_IQ4_NL, block_iq4_nl>;
  t.by_dtype[LLMH_DTYPE_NF4] = decode_blocks<LLMH_DTYPE_NF4, block_nf4>;
  t.by_dtype[LLMH_DTYPE_FP4] = decode_blocks<LLMH_DTYPE_FP4, block_fp4>;
  t.by_dtype[LLMH_DTYPE_IQ4_XS] = decode_blocks<LLMH_DTYPE_IQ4_XS, block_iq4_xs>;
  return t;
}

}  // namespace
}  // namespace llmhost::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace llmhost::cpu {
HWY_EXPORT(decode_table);
namespace {

// Types that few models use have one plain decoder for every instruction set.
template <llmh_dtype kType>
void decode_plainly(const uint8_t* source, int64_t count, float* out) {
  constexpr llmh::BlockDecoder kDecode = llmh::block_decoder(kType);
  const llmh_dtype_layout layout = llmh_dtype_layout_of(kType);
  for (int64_t i = 0; i < count; i += layout.block_elements, source += layout.block_bytes)
    kDecode(source, out + i);
}

template <llmh_dtype... kTypes>
void add_plain(DecodeKernels& table) {
  ((table.by_dtype[kTypes] = decode_plainly<kTypes>), ...);
}

}  // namespace

DecodeKernels decode_kernels() {
  DecodeKernels table = HWY_DYNAMIC_DISPATCH(decode_table)();
  add_plain<LLMH_DTYPE_IQ1_S, LLMH_DTYPE_IQ1_M, LLMH_DTYPE_IQ2_XXS, LLMH_DTYPE_IQ2_XS, LLMH_DTYPE_IQ2_S,
            LLMH_DTYPE_IQ3_XXS, LLMH_DTYPE_IQ3_S, LLMH_DTYPE_TQ1_0, LLMH_DTYPE_TQ2_0, LLMH_DTYPE_MXFP4,
            LLMH_DTYPE_NVFP4, LLMH_DTYPE_E4M3_32, LLMH_DTYPE_I8_32>(table);
  return table;
}
}  // namespace llmhost::cpu
#endif
