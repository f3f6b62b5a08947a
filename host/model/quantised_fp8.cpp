// Eight-bit floats: weight [out, in] in F8_E4M3 or F8_E5M2 times a scale: weight_scale for the whole tensor
// or each row, weight_scale_inv (or weight_scale) for each block of weight_block_size.
#include <array>
#include <cstring>
#include <utility>

#include "core/error.h"
#include "model/quantised_scaled.h"

namespace llmhost::model {
namespace {

constexpr int64_t kBlock = 32;  // elements of the block type e4m3_32

using ByteTable = std::array<float, 256>;

ByteTable table_of(std::string_view type) {
  ByteTable table;
  for (size_t i = 0; i < table.size(); ++i) {
    const auto bits = static_cast<uint8_t>(i);
    table[i] = type == "F8_E4M3" ? e4m3_to_f32(bits) : e5m2_to_f32(bits);
  }
  return table;
}

void write_floats(const CheckpointTensor& weight, const std::vector<float>& scales, const ScaleBlocks& blocks,
                  std::span<std::byte> out) {
  const ByteTable table = table_of(weight.stored_type);
  const std::byte* in = weight.bytes.data();
  std::byte* to = out.data();
  for (int64_t r = 0; r < weight.shape[0]; ++r)
    for (int64_t c = 0; c < weight.shape[1]; ++c, ++in, to += sizeof(float)) {
      const float value = table[std::to_integer<size_t>(*in)] * scales[blocks.index(r, c)];
      std::memcpy(to, &value, sizeof value);
    }
}

void write_blocks(const CheckpointTensor& weight, const std::vector<float>& scales, const ScaleBlocks& blocks,
                  std::span<std::byte> out) {
  const std::byte* in = weight.bytes.data();
  std::byte* to = out.data();
  for (int64_t r = 0; r < weight.shape[0]; ++r)
    for (int64_t c = 0; c < weight.shape[1]; c += kBlock, in += kBlock) {
      const float scale = scales[blocks.index(r, c)];
      std::memcpy(to, &scale, sizeof scale);
      std::memcpy(to + sizeof scale, in, kBlock);
      to += sizeof scale + kBlock;
    }
}

}  // namespace

ScaleBlocks scale_blocks(const CheckpointTensor& weight, const CheckpointTensor& scale,
                         const std::vector<int64_t>& block) {
  expect_floats(scale);
  const int64_t rows = weight.shape[0];
  const int64_t columns = weight.shape[1];
  if (scale.element_count() == 1 && scale.shape.size() <= 2) return {rows, columns, 1};
  const bool by_row =
      scale.shape == std::vector<int64_t>{rows} || scale.shape == std::vector<int64_t>{rows, 1};
  if (block.empty() && by_row) return {1, columns, 1};
  if (block.size() != 2)
    refuse_part(scale, "it is no scale of the tensor or of each row, and the config names no blocks");
  const int64_t across = (columns - 1) / block[1] + 1;
  expect_shape(scale, {(rows - 1) / block[0] + 1, across});
  return {block[0], block[1], across};
}

QuantisedWeight fp8_weight(const CheckpointTensor& weight, const CheckpointTensor& scale,
                           const std::vector<int64_t>& block) {
  expect_type(weight, {"F8_E4M3", "F8_E5M2"});
  expect_rank(weight, 2);
  expect_bytes(weight, 1);
  const ScaleBlocks blocks = scale_blocks(weight, scale, block);
  const bool whole_blocks = weight.shape[1] % kBlock == 0 && blocks.columns % kBlock == 0;
  const llmh_dtype dtype =
      weight.stored_type == "F8_E4M3" && whole_blocks ? LLMH_DTYPE_E4M3_32 : LLMH_DTYPE_F32;
  auto decode = [weight, scale, blocks, dtype](std::span<std::byte> out) {
    if (dtype == LLMH_DTYPE_F32)
      write_floats(weight, floats_of(scale), blocks, out);
    else
      write_blocks(weight, floats_of(scale), blocks, out);
  };
  return {weight.stored_type == "F8_E4M3" ? "fp8 e4m3" : "fp8 e5m2", dtype, weight.shape,
          make_decoder(std::move(decode))};
}

void drop_activation_scales(PartTable& parts) {
  for (const std::string_view suffix :
       {".input_scale", ".input_zero_point", ".input_global_scale", ".output_scale", ".output_zero_point",
        ".k_scale", ".v_scale", ".q_scale", ".k_zero_point", ".v_zero_point"})
    for (const std::string& module : parts.modules_with(suffix)) parts.drop(parts.require(module, suffix));
}

void read_fp8(PartTable& parts, QuantisationConfig& config) {
  const std::vector<int64_t> block = config.integers("weight_block_size");
  const bool fits = block.empty() || (block.size() == 2 && block[0] > 0 && block[1] > 0);
  if (!fits) config.refuse("weight_block_size", "it must be two integers above 0");
  config.one_of("fmt", {"e4m3", "e5m2"});
  config.one_of("scale_fmt", {"float", "ue8m0"});
  config.one_of("expert_dtype", {"fp8"});
  // Activations stay unquantised here, which is more exact than the scheme asks for; the tensors say which
  // modules are quantised.
  config.understood({"activation_scheme", "activation_scale_ub", "modules_to_not_convert",
                     "modules_to_convert", "ignored_layers", "dequantize", "kv_cache_scheme"});
  for (const std::string_view suffix : {".weight_scale_inv", ".weight_scale"})
    for (const std::string& module : parts.modules_with(suffix)) {
      const CheckpointTensor& weight = parts.require(module, ".weight");
      const CheckpointTensor& scale = parts.require(module, suffix);
      parts.replace(module + ".weight", fp8_weight(weight, scale, block), {&weight, &scale});
    }
  drop_activation_scales(parts);
}

}  // namespace llmhost::model
