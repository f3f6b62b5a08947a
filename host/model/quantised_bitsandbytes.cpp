// bitsandbytes. 4 bits (nf4, fp4): weight holds codes, two a byte, the first in the high nibble;
// weight.quant_map the 16 values; weight.absmax the scale of each block, itself coded in blocks when it is
// nested; the quant_state a JSON text. 8 bits: weight i8 [out, in] and SCB, the largest magnitude of each
// row.
#include <algorithm>
#include <cstring>
#include <string_view>
#include <utility>

#include "core/error.h"
#include "core/json.h"
#include "llmhost/block_decode.hpp"
#include "model/quantised_grouped.h"

namespace llmhost::model {
namespace {

constexpr JsonLimits kStateLimits = {.max_bytes = size_t{64} << 10, .max_depth = 4};
constexpr int64_t kBlock = 64;  // elements of the block types nf4 and fp4
constexpr std::string_view kState = ".weight.quant_state.bitsandbytes__";

struct FourBit {
  std::vector<int64_t> shape;
  int64_t elements = 0;
  int64_t block = 0;
  int64_t nested_block = 0;  // 0: the scales are stored as they are
  float nested_offset = 0.0F;
};

struct FourBitParts {
  const CheckpointTensor* codes;
  const CheckpointTensor* absmax;
  const CheckpointTensor* map;
  const CheckpointTensor* nested_absmax;
  const CheckpointTensor* nested_map;
};

int64_t blocks_of(int64_t elements, int64_t block) {
  return (elements - 1) / block + 1;
}

int64_t positive(const CheckpointTensor& state, const Json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_number_unsigned() || found->get<uint64_t>() == 0 ||
      found->get<uint64_t>() > (uint64_t{1} << 40))
    refuse_part(state, fmt::format("'{}' must be an integer above 0", key));
  return found->get<int64_t>();
}

FourBit read_state(const CheckpointTensor& state, const std::string& type, bool is_nested) {
  const std::string_view text(reinterpret_cast<const char*>(state.bytes.data()), state.bytes.size());
  const Json object = parse_json(text, fmt::format("{}: tensor '{}'", state.file, state.name), kStateLimits);
  if (!object.is_object()) refuse_part(state, "it is no JSON object");
  const auto stored_type = object.find("quant_type");
  if (stored_type == object.end() || *stored_type != type)
    refuse_part(state, "'quant_type' is not that of its name");
  FourBit result;
  const auto shape = object.find("shape");
  if (shape == object.end() || !shape->is_array() || shape->empty()) refuse_part(state, "'shape' is no list");
  result.elements = 1;
  for (const Json& dim : *shape) {
    if (!dim.is_number_unsigned() || dim.get<uint64_t>() == 0 || dim.get<uint64_t>() > (uint64_t{1} << 40))
      refuse_part(state, "'shape' must hold integers above 0");
    result.shape.push_back(dim.get<int64_t>());
    result.elements = checked_product(state, result.elements, result.shape.back());
  }
  result.block = positive(state, object, "blocksize");
  if (!is_nested) return result;
  result.nested_block = positive(state, object, "nested_blocksize");
  const auto offset = object.find("nested_offset");
  if (offset == object.end() || !offset->is_number()) refuse_part(state, "'nested_offset' is no number");
  result.nested_offset = offset->get<float>();
  return result;
}

void check_sizes(const FourBitParts& parts, const FourBit& scheme) {
  // The bytes of the codes may be stored under the type of other tensors.
  if (static_cast<uint64_t>((scheme.elements + 1) / 2) != parts.codes->bytes.size())
    refuse_part(*parts.codes, fmt::format("{} 4-bit codes do not fill its {} bytes", scheme.elements,
                                          parts.codes->bytes.size()));
  const int64_t blocks = blocks_of(scheme.elements, scheme.block);
  expect_shape(*parts.absmax, {blocks});
  expect_type(*parts.map, {"F32"});
  expect_shape(*parts.map, {16});
  if (scheme.nested_block == 0) {
    expect_type(*parts.absmax, {"F32", "F16", "BF16"});
    return;
  }
  expect_type(*parts.absmax, {"U8"});
  expect_type(*parts.nested_absmax, {"F32"});
  expect_shape(*parts.nested_absmax, {blocks_of(blocks, scheme.nested_block)});
  expect_type(*parts.nested_map, {"F32"});
  expect_shape(*parts.nested_map, {256});
}

std::vector<float> read_absmax(const CheckpointTensor& absmax, const CheckpointTensor& nested_absmax,
                               const CheckpointTensor& nested_map, const FourBit& scheme) {
  if (scheme.nested_block == 0) return floats_of(absmax);
  const std::vector<float> map = floats_of(nested_map);
  const std::vector<float> outer = floats_of(nested_absmax);
  std::vector<float> result(absmax.bytes.size());
  for (size_t i = 0; i < result.size(); ++i) {
    const float scaled =
        map[std::to_integer<size_t>(absmax.bytes[i])] * outer[i / static_cast<size_t>(scheme.nested_block)];
    result[i] = scaled + scheme.nested_offset;
  }
  return result;
}

// The element types of the usual 16 values hold what is stored as it is, where rows and blocks of scales are
// whole blocks.
llmh_dtype choose_dtype(std::string_view type, const CheckpointTensor& map, const FourBit& scheme) {
  const bool whole_blocks = scheme.shape.back() % kBlock == 0 && scheme.block % kBlock == 0;
  const bool is_nf4 = type == "nf4";
  const std::vector<float> values = floats_of(map);
  const float* usual = is_nf4 ? llmh::block::kNf4Values : llmh::block::kFp4Values;
  if (!whole_blocks || !std::equal(values.begin(), values.end(), usual)) return LLMH_DTYPE_F32;
  return is_nf4 ? LLMH_DTYPE_NF4 : LLMH_DTYPE_FP4;
}

uint32_t code_at(const CheckpointTensor& codes, int64_t index) {
  const auto byte = std::to_integer<uint32_t>(codes.bytes[static_cast<size_t>(index / 2)]);
  return index % 2 == 0 ? byte >> 4 : byte & 15U;
}

void write_floats(const CheckpointTensor& codes, const std::vector<float>& values,
                  const std::vector<float>& scales, const FourBit& scheme, std::span<std::byte> out) {
  for (int64_t i = 0; i < scheme.elements; ++i) {
    const float value = values[code_at(codes, i)] * scales[static_cast<size_t>(i / scheme.block)];
    std::memcpy(out.data() + static_cast<size_t>(i) * sizeof value, &value, sizeof value);
  }
}

void write_blocks(const CheckpointTensor& codes, const std::vector<float>& scales, const FourBit& scheme,
                  std::span<std::byte> out) {
  std::byte* to = out.data();
  for (int64_t first = 0; first < scheme.elements; first += kBlock) {
    const float scale = scales[static_cast<size_t>(first / scheme.block)];
    std::memcpy(to, &scale, sizeof scale);
    to += sizeof scale;
    for (int64_t i = first; i < first + kBlock / 2; ++i)
      *to++ = static_cast<std::byte>(code_at(codes, i) | code_at(codes, i + kBlock / 2) << 4);
  }
}

void add_four_bit(PartTable& parts, const std::string& module, const std::string& type) {
  const std::string name = module + ".weight";
  const CheckpointTensor& state = parts.require(module, fmt::format("{}{}", kState, type));
  FourBitParts used{};
  used.codes = &parts.require(module, ".weight");
  used.absmax = &parts.require(name, ".absmax");
  used.map = &parts.require(name, ".quant_map");
  used.nested_absmax = parts.part(name, ".nested_absmax");
  const bool is_nested = used.nested_absmax != nullptr;
  if (is_nested) used.nested_map = &parts.require(name, ".nested_quant_map");
  const FourBit scheme = read_state(state, type, is_nested);
  check_sizes(used, scheme);
  const llmh_dtype dtype = choose_dtype(type, *used.map, scheme);
  const CheckpointTensor none{};
  auto decode = [scheme, dtype, codes = *used.codes, absmax = *used.absmax, map = *used.map,
                 nested_absmax = is_nested ? *used.nested_absmax : none,
                 nested_map = is_nested ? *used.nested_map : none](std::span<std::byte> out) {
    const std::vector<float> scales = read_absmax(absmax, nested_absmax, nested_map, scheme);
    if (dtype == LLMH_DTYPE_F32)
      write_floats(codes, floats_of(map), scales, scheme, out);
    else
      write_blocks(codes, scales, scheme, out);
  };
  parts.replace(name, {"bitsandbytes " + type, dtype, scheme.shape, make_decoder(std::move(decode))},
                {used.codes, used.absmax, used.map, used.nested_absmax, used.nested_map, &state});
}

void add_eight_bit(PartTable& parts, const std::string& module) {
  const CheckpointTensor& weight = parts.require(module, ".weight");
  const CheckpointTensor& row_max = parts.require(module, ".SCB");
  const CheckpointTensor* format = parts.part(module, ".weight_format");
  expect_type(weight, {"I8"});
  expect_rank(weight, 2);
  expect_type(row_max, {"F32"});
  expect_shape(row_max, {weight.shape[0]});
  if (format != nullptr) {
    expect_type(*format, {"U8"});
    if (format->bytes.size() != 1 || format->bytes[0] != std::byte{0})
      refuse_part(*format, "only weights in row order (0) are supported");
  }
  GroupedWeight rows;
  rows.rows = weight.shape[0];
  rows.columns = rows.group_size = weight.shape[1];
  rows.low = -128;
  rows.high = 127;
  rows.scales = [row_max] {
    std::vector<float> scales = floats_of(row_max);
    for (float& scale : scales) scale *= 1.0F / 127.0F;
    return scales;
  };
  rows.quants = [weight, columns = rows.columns](int64_t first, int64_t count, int16_t* quants) {
    const std::byte* from = weight.bytes.data() + first * columns;
    const auto* signed_from = reinterpret_cast<const int8_t*>(from);
    std::copy(signed_from, signed_from + count * columns, quants);
  };
  parts.replace(module + ".weight", grouped_weight("bitsandbytes int8", std::move(rows)),
                {&weight, &row_max, format});
}

}  // namespace

void read_bitsandbytes(PartTable& parts, QuantisationConfig& config) {
  // The tensors say all there is to know. Thresholds and types of computation are settings of another engine.
  config.understood({"load_in_4bit", "load_in_8bit", "_load_in_4bit", "_load_in_8bit",
                     "bnb_4bit_quant_storage", "bnb_4bit_quant_type", "bnb_4bit_use_double_quant",
                     "bnb_4bit_compute_dtype", "llm_int8_enable_fp32_cpu_offload", "llm_int8_has_fp16_weight",
                     "llm_int8_skip_modules", "llm_int8_threshold", "modules_to_not_convert"});
  for (const std::string type : {"nf4", "fp4"})
    for (const std::string& module : parts.modules_with(fmt::format("{}{}", kState, type)))
      add_four_bit(parts, module, type);
  for (const std::string& module : parts.modules_with(".SCB")) add_eight_bit(parts, module);
}

}  // namespace llmhost::model
