/* Element types of tensors. Plain C11.
 *
 * A quantised type stores rows in blocks: `block_elements` consecutive elements of the innermost dimension share
 * `block_bytes` bytes. The byte layouts of the block types up to NVFP4 are those of GGUF files (ggml), the source of their
 * figures.
 * Ids are part of the ABI: they are only ever appended to. */
#ifndef LLMHOST_DTYPE_H
#define LLMHOST_DTYPE_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef int32_t llmh_dtype; /* LLMH_DTYPE_*; int32_t, so that its size is the same for every compiler */

enum {
  LLMH_DTYPE_INVALID = 0, /* no type: a field that nobody filled */
  LLMH_DTYPE_F32 = 1,     /* IEEE 754 binary32 */
  LLMH_DTYPE_F16 = 2,     /* IEEE 754 binary16 */
  LLMH_DTYPE_BF16 = 3,    /* upper half of an f32 */
  LLMH_DTYPE_F64 = 4,     /* IEEE 754 binary64 */
  LLMH_DTYPE_I8 = 5,      /* two's complement, as all I* */
  LLMH_DTYPE_I16 = 6,
  LLMH_DTYPE_I32 = 7,
  LLMH_DTYPE_I64 = 8,
  LLMH_DTYPE_U8 = 9,       /* bytes */
  LLMH_DTYPE_BOOL = 10,    /* one byte, 0 or 1 */
  LLMH_DTYPE_Q4_0 = 11,    /* 4 bits, blocks of 32: d (q - 8), d an f16 of the block */
  LLMH_DTYPE_Q4_1 = 12,    /* 4 bits, blocks of 32: d q + m, d and m f16 */
  LLMH_DTYPE_Q5_0 = 13,    /* 5 bits, blocks of 32: d (q - 16) */
  LLMH_DTYPE_Q5_1 = 14,    /* 5 bits, blocks of 32: d q + m */
  LLMH_DTYPE_Q8_0 = 15,    /* 8 bits, blocks of 32: d q */
  LLMH_DTYPE_Q2_K = 16,    /* 2 bits, blocks of 256 in 16 parts: 4-bit scale and minimum each */
  LLMH_DTYPE_Q3_K = 17,    /* 3 bits, blocks of 256 in 16 parts: 6-bit scale each */
  LLMH_DTYPE_Q4_K = 18,    /* 4 bits, blocks of 256 in 8 parts: 6-bit scale and minimum each */
  LLMH_DTYPE_Q5_K = 19,    /* 5 bits, as Q4_K */
  LLMH_DTYPE_Q6_K = 20,    /* 6 bits, blocks of 256 in 16 parts: 8-bit scale each */
  LLMH_DTYPE_IQ4_NL = 21,  /* 4 bits, blocks of 32: d times one of 16 fixed values */
  LLMH_DTYPE_IQ4_XS = 22,  /* as IQ4_NL, blocks of 256 in 8 parts: 6-bit scale each */
  LLMH_DTYPE_IQ1_S = 23,   /* 1.56 bits, blocks of 256 in 8 parts: 3-bit scale each, ternary values off a grid */
  LLMH_DTYPE_IQ1_M = 24,   /* 1.75 bits, blocks of 256 in 16 parts: 3-bit scale each, the grid of IQ1_S */
  LLMH_DTYPE_IQ2_XXS = 25, /* 2.06 bits, blocks of 256 in 8 parts: 4-bit scale each, eight values off a grid */
  LLMH_DTYPE_IQ2_XS = 26,  /* 2.31 bits, blocks of 256 in 16 parts: 4-bit scale each, a grid twice as large */
  LLMH_DTYPE_IQ2_S = 27,   /* 2.56 bits, as IQ2_XS, a grid twice as large and a sign for each value */
  LLMH_DTYPE_IQ3_XXS = 28, /* 3.06 bits, blocks of 256 in 8 parts: 4-bit scale each, four values off a grid */
  LLMH_DTYPE_IQ3_S = 29,   /* 3.44 bits, as IQ3_XXS, a grid twice as large and a sign for each value */
  LLMH_DTYPE_TQ1_0 = 30,   /* ternary, blocks of 256: d (q - 1), five digits a byte */
  LLMH_DTYPE_TQ2_0 = 31,   /* ternary, blocks of 256: d (q - 1), four values a byte */
  LLMH_DTYPE_MXFP4 = 32,   /* 4-bit floats e2m1, blocks of 32: a power of two as scale */
  LLMH_DTYPE_NVFP4 = 33,   /* 4-bit floats e2m1, blocks of 64 in 4 parts: an unsigned e4m3 scale each */
  /* Types that no file has: what the host packs quantised Hub checkpoints into, exactly. The scale d is an f32 in front. */
  LLMH_DTYPE_NF4 = 34,     /* 4 bits, blocks of 64: d times one of the 16 values of NormalFloat 4 */
  LLMH_DTYPE_FP4 = 35,     /* as NF4 with the 16 values of bitsandbytes' fp4 */
  LLMH_DTYPE_E4M3_32 = 36, /* 8-bit floats e4m3, blocks of 32: d x */
  LLMH_DTYPE_I8_32 = 37,   /* 8 bits, blocks of 32: d q */
  LLMH_DTYPE_COUNT_ = 38   /* one past the last id known to this header; never stored */
};

/* Layout of one dtype. [thread-safe] */
typedef struct llmh_dtype_layout {
  const char* name;        /* as written in configs and listings: "f32", "q4_k"; static lifetime */
  uint32_t block_elements; /* elements that share a block; 1 for plain types; a row holds whole blocks */
  uint32_t block_bytes;    /* bytes of one block (of one element for plain types) */
} llmh_dtype_layout;

/* The layout of `dtype`, or {NULL, 0, 0} for an id that this header does not know. */
static inline llmh_dtype_layout llmh_dtype_layout_of(llmh_dtype dtype) {
  static const llmh_dtype_layout kLayouts[LLMH_DTYPE_COUNT_] = {
      {0, 0, 0},           {"f32", 1, 4},        {"f16", 1, 2},
      {"bf16", 1, 2},      {"f64", 1, 8},        {"i8", 1, 1},
      {"i16", 1, 2},       {"i32", 1, 4},        {"i64", 1, 8},
      {"u8", 1, 1},        {"bool", 1, 1},       {"q4_0", 32, 18},
      {"q4_1", 32, 20},    {"q5_0", 32, 22},     {"q5_1", 32, 24},
      {"q8_0", 32, 34},    {"q2_k", 256, 84},    {"q3_k", 256, 110},
      {"q4_k", 256, 144},  {"q5_k", 256, 176},   {"q6_k", 256, 210},
      {"iq4_nl", 32, 18},  {"iq4_xs", 256, 136}, {"iq1_s", 256, 50},
      {"iq1_m", 256, 56},  {"iq2_xxs", 256, 66}, {"iq2_xs", 256, 74},
      {"iq2_s", 256, 82},  {"iq3_xxs", 256, 98}, {"iq3_s", 256, 110},
      {"tq1_0", 256, 54},  {"tq2_0", 256, 66},   {"mxfp4", 32, 17},
      {"nvfp4", 64, 36},   {"nf4", 64, 36},      {"fp4", 64, 36},
      {"e4m3_32", 32, 36}, {"i8_32", 32, 36}};
  if (dtype <= 0 || dtype >= LLMH_DTYPE_COUNT_) return kLayouts[0];
  return kLayouts[dtype];
}

#ifdef __cplusplus
}
#endif

#endif /* LLMHOST_DTYPE_H */
