// Weights in 4 bits as bitsandbytes' checkpoints hold them (nf4, fp4, with or without double quantisation):
// made from f32 with the very bytes that the library's portable kernels make, and turned into what a device
// reads. Values are taken row-major as one sequence, so blocks ignore where rows end.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/thread_pool.h"
#include "llmhost/dtype.h"
#include "model/layout_steps.h"

namespace llmhost::model {

enum class FourBitCode { kNf4, kFp4 };

std::string_view to_text(FourBitCode code);  // "nf4", "fp4"
// The 16 values, and the 256 of block maxima in 8 bits (sorted).
std::span<const float, 16> four_bit_values(FourBitCode code);
std::span<const float, 256> nested_values();

inline constexpr int64_t kNestedBlock = 256;  // block maxima that share one scale

struct FourBitOptions {
  FourBitCode code = FourBitCode::kNf4;
  int64_t block = 64;     // values that share one maximum
  bool is_nested = true;  // block maxima in 8 bits, too
};

struct FourBitTensor {
  FourBitOptions options;
  std::vector<int64_t> shape;     // [out, in]
  std::vector<std::byte> packed;  // two codes a byte, the first in the high nibble
  std::vector<float> absmax;      // by block, as it is restored
  // Of is_nested.
  std::vector<std::byte> absmax_codes;
  std::vector<float> nested_absmax;
  float nested_offset = 0;
};

// Throws kInvalidArgument for a value that is not finite, an empty tensor, or a block that is not 32, 64, …,
// 4096. Without threads everything is done by the caller.
FourBitTensor quantize_four_bit(std::span<const float> values, std::span<const int64_t> shape,
                                const FourBitOptions& options, ThreadPool* threads = nullptr);

// The values in f32, as many as there are.
void dequantize_four_bit(const FourBitTensor& tensor, std::span<float> out);

// For a device, exactly: LLMH_DTYPE_NF4 or FP4 where rows and blocks are whole blocks of 64, else the values
// in f32.
WeightData four_bit_weight(const FourBitTensor& tensor);

// A loaded weight of any element type ([N,K], or stacks of them) as it would be after a round through four
// bits.
WeightData quantized_weight(const WeightData& weight, const FourBitOptions& options,
                            ThreadPool* threads = nullptr);

// The text of the tensor `….quant_state.bitsandbytes__nf4`; `dtype` as torch calls what it was made of
// ("float32").
std::string four_bit_state(const FourBitTensor& tensor, std::string_view dtype);

}  // namespace llmhost::model
