// The reference decoders of stored weights: slow, obvious, and bit for bit what the `gguf` package computes
// (f32 arithmetic in the same order). Faster kernels are tested against them.
//
// The sign and payload of a NaN are not specified.
#pragma once

#include <cstddef>
#include <cstdint>

#include "llmhost/dtype.h"

namespace llmhost {

float f16_to_f32(uint16_t bits);
float bf16_to_f32(uint16_t bits);

// True for the floating-point and block-quantised types, which dequantize_row decodes.
bool can_dequantize(llmh_dtype dtype);

// Decodes `count` elements from `source`, which holds count / block_elements whole blocks (any alignment).
// Throws kInvalidArgument when `count` is not a whole number of blocks, kUnimplemented for other types.
void dequantize_row(llmh_dtype dtype, const std::byte* source, float* out, size_t count);

}  // namespace llmhost
