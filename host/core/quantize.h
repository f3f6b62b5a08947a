// Encoders of stored weights, the counterpart of core/dequantize.h.
//
// q4_0, q4_1, q5_0, q5_1 and q8_0 give the very bytes that the `gguf` package gives. The k types search for
// the scales with the smallest squared error, so other encoders' bytes differ from these.
#pragma once

#include <cstddef>
#include <cstdint>

#include "llmhost/dtype.h"

namespace llmhost {

// Rounded to nearest, ties to even; NaN stays NaN.
uint16_t f32_to_f16(float value);
uint16_t f32_to_bf16(float value);

// True for f32, f16, bf16, q4_0, q4_1, q5_0, q5_1, q8_0 and q2_k to q6_k.
bool can_quantize(llmh_dtype dtype);

// Encodes `count` finite values, whole blocks of them. False when one of them (or the scale of its block) is
// beyond what the type can hold. Throws kInvalidArgument when `count` is not a whole number of blocks,
// kUnimplemented for other types. [thread-safe]
[[nodiscard]] bool quantize_row(llmh_dtype dtype, const float* values, std::byte* out, size_t count);

}  // namespace llmhost
