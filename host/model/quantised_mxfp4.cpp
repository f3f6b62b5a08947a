// MXFP4 of stacked expert matrices: X_blocks u8 [experts, rows, groups, 16], two e2m1 numbers a byte, the
// first in the low nibble; X_scales u8 [experts, rows, groups], powers of two. The unquantised checkpoint
// holds X [experts, columns, rows]. The values are exact in bf16.
#include <array>
#include <bit>
#include <cstring>
#include <utility>

#include "core/error.h"
#include "llmhost/block_decode.hpp"
#include "model/quantised_parts.h"

namespace llmhost::model {
namespace {

constexpr int64_t kGroup = 32;

uint16_t to_bf16(float value) {
  return static_cast<uint16_t>(std::bit_cast<uint32_t>(value) >> 16);
}

void decode_matrix(const std::byte* blocks, const std::byte* scales, int64_t rows, int64_t groups,
                   std::byte* out) {
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t g = 0; g < groups; ++g) {
      const float scale = e8m0_to_f32(std::to_integer<uint8_t>(scales[r * groups + g]));
      const std::byte* packed = blocks + (r * groups + g) * (kGroup / 2);
      for (int64_t i = 0; i < kGroup; ++i) {
        const auto byte = std::to_integer<uint32_t>(packed[i / 2]);
        const uint32_t code = i % 2 == 0 ? byte & 15U : byte >> 4;
        const float number = 0.5F * static_cast<float>(llmh::block::kE2m1Doubled[code]);
        const uint16_t value = to_bf16(number * scale);
        std::memcpy(out + ((g * kGroup + i) * rows + r) * static_cast<int64_t>(sizeof value), &value,
                    sizeof value);
      }
    }
}

}  // namespace

void read_mxfp4(PartTable& parts, QuantisationConfig& config) {
  config.understood({"modules_to_not_convert", "dequantize"});
  for (const std::string& name : parts.modules_with("_blocks")) {
    const CheckpointTensor& blocks = parts.require(name, "_blocks");
    const CheckpointTensor& scales = parts.require(name, "_scales");
    expect_type(blocks, {"U8"});
    expect_rank(blocks, 4);
    if (blocks.shape[3] != kGroup / 2) refuse_part(blocks, "its last dimension must be 16");
    expect_type(scales, {"U8"});
    expect_shape(scales, {blocks.shape[0], blocks.shape[1], blocks.shape[2]});
    const int64_t experts = blocks.shape[0];
    const int64_t rows = blocks.shape[1];
    const int64_t groups = blocks.shape[2];
    auto decode = [blocks, scales, experts, rows, groups](std::span<std::byte> out) {
      for (int64_t e = 0; e < experts; ++e)
        decode_matrix(blocks.bytes.data() + e * rows * groups * (kGroup / 2),
                      scales.bytes.data() + e * rows * groups, rows, groups,
                      out.data() + e * rows * groups * kGroup * static_cast<int64_t>(sizeof(uint16_t)));
    };
    parts.replace(
        name, {"mxfp4", LLMH_DTYPE_BF16, {experts, groups * kGroup, rows}, make_decoder(std::move(decode))},
        {&blocks, &scales});
  }
}

}  // namespace llmhost::model
