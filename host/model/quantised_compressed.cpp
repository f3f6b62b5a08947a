// compressed-tensors: "pack-quantized" integers (weight_packed, weight_shape, weight_scale,
// weight_zero_point, weight_g_idx), bytes or 8-bit floats under the weight's own name ("int-quantized",
// "float-quantized", "naive-quantized"), 4-bit floats ("nvfp4-pack-quantized", "mxfp4-pack-quantized"). The
// parts of a module tell how it is quantised; the config has to allow for it.
#include <algorithm>
#include <cstring>
#include <set>
#include <utility>

#include "core/error.h"
#include "llmhost/block_decode.hpp"
#include "model/quantised_grouped.h"
#include "model/quantised_scaled.h"

namespace llmhost::model {
namespace {

struct Scheme {
  std::set<int64_t> bits;      // of the groups with integers
  std::vector<int64_t> block;  // of the group with blocks
};

void read_group(QuantisationConfig& config, const std::string& group, Scheme& scheme) {
  const std::string weights = group + ".weights.";
  const int64_t bits = config.integer(weights + "num_bits", 8);
  const bool is_integer = config.one_of(weights + "type", {"int", "float"}) == "int";
  if (bits != 4 && bits != 8) config.refuse(weights + "num_bits", "only 4 and 8 are supported");
  config.one_of(weights + "strategy", {"tensor", "channel", "group", "block", "tensor_group"});
  config.one_of(group + ".format", {"pack-quantized", "int-quantized", "float-quantized", "naive-quantized",
                                    "nvfp4-pack-quantized", "mxfp4-pack-quantized", "dense"});
  if (is_integer) scheme.bits.insert(bits);
  const std::vector<int64_t> block = config.integers(weights + "block_structure");
  if (!block.empty()) {
    const bool fits = block.size() == 2 && block[0] > 0 && block[1] > 0;
    if (!fits) config.refuse(weights + "block_structure", "it must be two integers above 0");
    if (!scheme.block.empty() && scheme.block != block)
      config.refuse(weights + "block_structure", "groups with different blocks are not supported");
    scheme.block = block;
  }
  const auto below = [&](std::string_view key) { config.understood({weights + std::string(key)}); };
  for (const std::string_view key : {"symmetric", "group_size", "dynamic", "actorder", "observer",
                                     "observer_kwargs", "scale_dtype", "zp_dtype"})
    below(key);
  // Activations stay unquantised here, which is more exact than the scheme asks for.
  config.understood({group + ".targets", group + ".input_activations", group + ".output_activations"});
}

Scheme read_scheme(QuantisationConfig& config) {
  config.one_of("format", {"pack-quantized", "int-quantized", "float-quantized", "naive-quantized",
                           "nvfp4-pack-quantized", "mxfp4-pack-quantized", "mixed-precision", "dense"});
  config.one_of("quantization_status", {"compressed", "frozen"});
  if (config.has("sparsity_config")) config.one_of("sparsity_config.format", {"dense"});
  config.understood({"ignore", "global_compression_ratio", "version", "kv_cache_scheme", "sparsity_config",
                     "run_compressed", "dequantize"});
  Scheme scheme;
  for (const std::string& group : config.keys_of("config_groups"))
    read_group(config, "config_groups." + group, scheme);
  return scheme;
}

// The rows and columns of a packed weight, which its shape part tells.
std::pair<int64_t, int64_t> packed_shape(const CheckpointTensor& packed, const CheckpointTensor& shape) {
  expect_type(shape, {"I64", "I32"});
  expect_shape(shape, {2});
  int64_t dims[2];
  for (size_t i = 0; i < 2; ++i) {
    const bool is_long = shape.stored_type == "I64";
    int32_t narrow = 0;
    std::memcpy(&narrow, shape.bytes.data() + i * (is_long ? 8 : 4), sizeof narrow);
    dims[i] = narrow;
    if (is_long) std::memcpy(&dims[i], shape.bytes.data() + i * 8, 8);
  }
  const bool fits = dims[0] == packed.shape[0] && dims[1] > 0 && dims[1] <= packed.shape[1] * 32;
  if (!fits) refuse_part(shape, fmt::format("[{},{}] does not fit '{}'", dims[0], dims[1], packed.name));
  return {dims[0], dims[1]};
}

int32_t packed_bits(const CheckpointTensor& packed, int64_t columns, const Scheme& scheme) {
  for (const int32_t bits : {4, 8})
    if (scheme.bits.contains(bits) && packed_words(columns, bits) == packed.shape[1]) return bits;
  refuse_part(packed, fmt::format("{} columns of 4 or 8 bits, as the config has them, do not fill its rows",
                                  columns));
}

// Scales: one, one a row, or one a group of a row. Sets groups and group_size.
void set_groups(const CheckpointTensor& scale, GroupedWeight& weight) {
  expect_floats(scale);
  weight.groups = scale.shape.size() == 2 ? scale.shape[1] : 1;
  const bool is_one = scale.element_count() == 1 && scale.shape.size() <= 2;
  const bool fits = is_one || ((scale.shape.size() == 1 || scale.shape.size() == 2) && weight.groups > 0 &&
                               scale.shape[0] == weight.rows && weight.groups <= weight.columns);
  if (!fits) refuse_part(scale, fmt::format("there are {} rows", weight.rows));
  weight.group_size = (weight.columns - 1) / weight.groups + 1;
  if (weight.columns % weight.groups != 0)
    refuse_part(scale, fmt::format("{} columns are no whole number of groups", weight.columns));
  weight.scales = [scale, is_one, count = static_cast<size_t>(weight.rows)] {
    std::vector<float> scales = floats_of(scale);
    if (is_one) scales.assign(count, scales.front());
    return scales;
  };
  weight.has_f16_scales = scale.stored_type == "F16";
}

void add_packed(PartTable& parts, const std::string& module, const Scheme& scheme) {
  const CheckpointTensor& packed = parts.require(module, ".weight_packed");
  const CheckpointTensor& shape = parts.require(module, ".weight_shape");
  const CheckpointTensor& scale = parts.require(module, ".weight_scale");
  const CheckpointTensor* zero = parts.part(module, ".weight_zero_point");
  const CheckpointTensor* g_idx = parts.part(module, ".weight_g_idx");
  expect_type(packed, {"I32"});
  expect_rank(packed, 2);
  GroupedWeight weight;
  std::tie(weight.rows, weight.columns) = packed_shape(packed, shape);
  const int32_t bits = packed_bits(packed, weight.columns, scheme);
  set_groups(scale, weight);
  const int32_t middle = 1 << (bits - 1);
  weight.low = zero == nullptr ? -middle : 1 - 2 * middle;
  weight.high = zero == nullptr ? middle - 1 : 2 * middle - 1;
  if (g_idx != nullptr)
    weight.group_of = groups_of_columns(*g_idx, weight.columns, weight.groups, weight.group_size);
  if (zero != nullptr) {
    expect_type(*zero, {"I32"});
    expect_shape(*zero, {packed_words(weight.rows, bits), weight.groups});
  }
  weight.zeros = [zero_part = zero == nullptr ? CheckpointTensor{} : *zero, has_zero = zero != nullptr, bits,
                  middle, rows = weight.rows, groups = weight.groups] {
    std::vector<int16_t> zeros(static_cast<size_t>(rows * groups), static_cast<int16_t>(middle));
    for (int64_t r = 0; has_zero && r < rows; ++r)
      for (int64_t g = 0; g < groups; ++g)
        zeros[static_cast<size_t>(r * groups + g)] =
            static_cast<int16_t>(packed_value(zero_part, g, groups, r, bits));
    return zeros;
  };
  weight.quants = [packed, columns = weight.columns, bits](int64_t first, int64_t count, int16_t* quants) {
    const int64_t per_word = 32 / bits;
    for (int64_t r = 0; r < count; ++r) {
      const int64_t words = (first + r) * packed.shape[1];
      const int64_t whole = columns / per_word;
      for (int64_t w = 0; w < whole; ++w)
        unpack_word(word_at(packed, words + w), bits, quants + r * columns + w * per_word);
      for (int64_t c = whole * per_word; c < columns; ++c)
        quants[r * columns + c] = static_cast<int16_t>(packed_value(packed, words, 1, c, bits));
    }
  };
  parts.replace(module + ".weight",
                grouped_weight(fmt::format("compressed-tensors {}-bit", bits), std::move(weight)),
                {&packed, &shape, &scale, zero, g_idx});
}

void add_bytes(PartTable& parts, const std::string& module, const CheckpointTensor& bytes) {
  const CheckpointTensor& scale = parts.require(module, ".weight_scale");
  const CheckpointTensor* zero = parts.part(module, ".weight_zero_point");
  const CheckpointTensor* g_idx = parts.part(module, ".weight_g_idx");
  expect_rank(bytes, 2);
  GroupedWeight weight;
  weight.rows = bytes.shape[0];
  weight.columns = bytes.shape[1];
  set_groups(scale, weight);
  weight.low = zero == nullptr ? -128 : -255;
  weight.high = zero == nullptr ? 127 : 255;
  if (g_idx != nullptr)
    weight.group_of = groups_of_columns(*g_idx, weight.columns, weight.groups, weight.group_size);
  if (zero != nullptr) {
    expect_type(*zero, {"I8"});
    expect_shape(*zero, scale.shape);
    weight.zeros = [part = *zero, count = static_cast<size_t>(weight.rows * weight.groups)] {
      std::vector<int16_t> zeros(count, static_cast<int8_t>(part.bytes[0]));
      if (part.bytes.size() == count)
        std::transform(part.bytes.begin(), part.bytes.end(), zeros.begin(),
                       [](std::byte value) { return static_cast<int8_t>(value); });
      return zeros;
    };
  }
  weight.quants = [bytes, columns = weight.columns](int64_t first, int64_t count, int16_t* quants) {
    const std::byte* from = bytes.bytes.data() + first * columns;
    const auto* signed_from = reinterpret_cast<const int8_t*>(from);
    std::copy(signed_from, signed_from + count * columns, quants);
  };
  parts.replace(module + ".weight", grouped_weight("compressed-tensors int8", std::move(weight)),
                {&bytes, &scale, zero, g_idx});
}

// Two e2m1 numbers a byte, the first in the low nibble.
uint32_t e2m1_code(const CheckpointTensor& packed, size_t index) {
  const auto byte = std::to_integer<uint32_t>(packed.bytes[index / 2]);
  return index % 2 == 0 ? byte & 15U : byte >> 4;
}

// nvfp4: e4m3 scales of 16 columns over one scale of the tensor.
void add_nvfp4(PartTable& parts, const std::string& module, const CheckpointTensor& packed,
               const CheckpointTensor& global) {
  const CheckpointTensor& scale = parts.require(module, ".weight_scale");
  const std::vector<int64_t> shape{packed.shape[0], checked_product(packed, packed.shape[1], 2)};
  if (shape[1] % 16 != 0) refuse_part(packed, "its rows are no whole groups of 16");
  expect_shape(scale, {shape[0], shape[1] / 16});
  expect_floats(scale);
  expect_type(global, {"F32"});
  if (global.element_count() != 1) refuse_part(global, "it must be one number");
  auto decode = [packed, scale, global](std::span<std::byte> out) {
    std::vector<float> scales = floats_of(scale);
    const float divisor = floats_of(global).front();
    for (float& value : scales) value /= divisor;
    for (size_t i = 0; i < packed.bytes.size() * 2; ++i) {
      const float number = 0.5F * static_cast<float>(llmh::block::kE2m1Doubled[e2m1_code(packed, i)]);
      const float value = number * scales[i / 16];
      std::memcpy(out.data() + i * sizeof value, &value, sizeof value);
    }
  };
  parts.replace(module + ".weight",
                {"compressed-tensors nvfp4", LLMH_DTYPE_F32, shape, make_decoder(std::move(decode))},
                {&packed, &scale, &global});
}

// mxfp4: powers of two as scales of 32 columns, as in the block type mxfp4, whose nibbles are in another
// order.
void add_mxfp4(PartTable& parts, const std::string& module, const CheckpointTensor& packed) {
  const CheckpointTensor& scale = parts.require(module, ".weight_scale");
  const std::vector<int64_t> shape{packed.shape[0], checked_product(packed, packed.shape[1], 2)};
  if (shape[1] % 32 != 0) refuse_part(packed, "its rows are no whole groups of 32");
  expect_shape(scale, {shape[0], shape[1] / 32});
  expect_type(scale, {"U8", "F8_E8M0"});
  expect_bytes(scale, 1);
  auto decode = [packed, scale](std::span<std::byte> out) {
    std::byte* to = out.data();
    for (size_t block = 0; block < scale.bytes.size(); ++block) {
      *to++ = scale.bytes[block];
      for (size_t i = block * 32; i < block * 32 + 16; ++i)
        *to++ = static_cast<std::byte>(e2m1_code(packed, i) | e2m1_code(packed, i + 16) << 4);
    }
  };
  parts.replace(module + ".weight",
                {"compressed-tensors mxfp4", LLMH_DTYPE_MXFP4, shape, make_decoder(std::move(decode))},
                {&packed, &scale});
}

void add_four_bit_floats(PartTable& parts, const std::string& module, const CheckpointTensor& packed) {
  expect_rank(packed, 2);
  const CheckpointTensor* global = parts.part(module, ".weight_global_scale");
  if (global != nullptr)
    add_nvfp4(parts, module, packed, *global);
  else
    add_mxfp4(parts, module, packed);
}

}  // namespace

void read_compressed_tensors(PartTable& parts, QuantisationConfig& config) {
  const Scheme scheme = read_scheme(config);
  for (const std::string& module : parts.modules_with(".weight_packed")) {
    const CheckpointTensor& packed = parts.require(module, ".weight_packed");
    if (packed.stored_type == "U8")
      add_four_bit_floats(parts, module, packed);
    else
      add_packed(parts, module, scheme);
  }
  for (const std::string& module : parts.modules_with(".weight_scale")) {
    const CheckpointTensor* weight = parts.part(module, ".weight");
    if (weight == nullptr) continue;
    if (weight->stored_type == "I8") {
      add_bytes(parts, module, *weight);
    } else {
      const CheckpointTensor& scale = parts.require(module, ".weight_scale");
      parts.replace(module + ".weight", fp8_weight(*weight, scale, scheme.block), {weight, &scale});
    }
  }
  drop_activation_scales(parts);
}

}  // namespace llmhost::model
