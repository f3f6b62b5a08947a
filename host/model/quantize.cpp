#include "model/quantize.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <cstring>
#include <limits>

#include "core/dequantize.h"
#include "core/error.h"
#include "llmhost/block_decode.hpp"

namespace llmhost::model {
namespace {

constexpr float kSmallestMaximum = 1e-38F;  // guards the reciprocal of a block of zeros
constexpr int64_t kDeviceBlock = 64;        // elements of the block types nf4 and fp4
constexpr int64_t kBlocksAtOnce = 256;

// The values of a code in ascending order, and half way between neighbours: a value's place is the number of
// mid-points strictly below it, so the lower neighbour has what lies exactly between.
template <size_t kSize>
struct Places {
  std::array<float, kSize - 1> bounds{};
  std::array<uint8_t, kSize> code{};  // the index in the file, by place
};

template <size_t kSize>
Places<kSize> places_of(std::span<const float, kSize> values) {
  Places<kSize> places;
  for (size_t i = 0; i < kSize; ++i) places.code[i] = static_cast<uint8_t>(i);
  std::stable_sort(places.code.begin(), places.code.end(),
                   [&](uint8_t a, uint8_t b) { return values[a] < values[b]; });
  for (size_t i = 0; i + 1 < kSize; ++i)
    places.bounds[i] = (values[places.code[i]] + values[places.code[i + 1]]) / 2.0F;
  return places;
}

const Places<16>& places_of(FourBitCode code) {
  static const std::array<Places<16>, 2> kPlaces = {places_of<16>(four_bit_values(FourBitCode::kNf4)),
                                                    places_of<16>(four_bit_values(FourBitCode::kFp4))};
  return kPlaces[static_cast<size_t>(code)];
}

float largest_magnitude(std::span<const float> values) {
  float largest = 0;
  for (const float value : values) largest = std::max(largest, std::fabs(value));
  return largest;
}

// Values over their block's maximum. Whole blocks are multiplied by the reciprocal, a short one is divided.
void scale_block(std::span<const float> values, float maximum, bool is_whole, float* out) {
  const float guarded = std::max(maximum, kSmallestMaximum);
  const float reciprocal = 1.0F / guarded;
  for (size_t i = 0; i < values.size(); ++i) {
    const float scaled = is_whole ? values[i] * reciprocal : values[i] / guarded;
    out[i] = std::clamp(scaled, -1.0F, 1.0F);
  }
}

uint8_t four_bit_code(const Places<16>& places, float scaled) {
  uint32_t place = 0;
  for (const float bound : places.bounds) place += bound < scaled ? 1U : 0U;
  return places.code[place];
}

bool all_finite(std::span<const float> values) {
  bool finite = true;
  for (const float value : values) finite &= std::fabs(value) <= std::numeric_limits<float>::max();
  return finite;
}

// Blocks have an even number of values, so each fills bytes of its own.
void quantize_block(std::span<const float> values, const FourBitOptions& options, float& absmax,
                    std::byte* packed) {
  const auto block = static_cast<size_t>(options.block);
  std::array<float, 4096 + 1> scaled;
  absmax = largest_magnitude(values);
  scale_block(values, absmax, values.size() == block, scaled.data());
  if (values.size() % 2 != 0) scaled[values.size()] = 0;
  const Places<16>& places = places_of(options.code);
  for (size_t i = 0; i < values.size(); i += 2)
    packed[i / 2] =
        static_cast<std::byte>(four_bit_code(places, scaled[i]) << 4 | four_bit_code(places, scaled[i + 1]));
}

void quantize_maxima(FourBitTensor& tensor) {
  static const Places<256> kPlaces = places_of<256>(nested_values());
  std::vector<float>& absmax = tensor.absmax;
  double sum = 0;
  for (const float value : absmax) sum += value;
  tensor.nested_offset = static_cast<float>(sum / static_cast<double>(absmax.size()));
  tensor.absmax_codes.resize(absmax.size());
  std::array<float, kNestedBlock> scaled;
  for (size_t first = 0; first < absmax.size(); first += kNestedBlock) {
    const std::span<float> block =
        std::span(absmax).subspan(first, std::min<size_t>(kNestedBlock, absmax.size() - first));
    for (float& value : block) value -= tensor.nested_offset;
    const float maximum = largest_magnitude(block);
    tensor.nested_absmax.push_back(maximum);
    scale_block(block, maximum, block.size() == kNestedBlock, scaled.data());
    for (size_t i = 0; i < block.size(); ++i) {
      const auto place = std::lower_bound(kPlaces.bounds.begin(), kPlaces.bounds.end(), scaled[i]);
      const auto code = static_cast<size_t>(place - kPlaces.bounds.begin());
      tensor.absmax_codes[first + i] = static_cast<std::byte>(code);
      const float restored = nested_values()[code] * maximum;
      block[i] = restored + tensor.nested_offset;
    }
  }
}

void check(std::span<const float> values, std::span<const int64_t> shape, const FourBitOptions& options) {
  if (values.empty() || element_count(shape) != values.size())
    throw_invalid("{} values do not fill the shape that is to be quantised", values.size());
  const auto block = static_cast<uint64_t>(options.block);
  if (block < 32 || block > 4096 || (block & (block - 1)) != 0)
    throw_invalid("a block of {} values: it must be 32, 64, 128, … or 4096", options.block);
}

uint32_t code_at(const FourBitTensor& tensor, size_t index) {
  const auto byte = std::to_integer<uint32_t>(tensor.packed[index / 2]);
  return index % 2 == 0 ? byte >> 4 : byte & 15U;
}

std::array<float, 256> make_nested_values() {
  std::array<float, 256> values{};
  size_t count = 0;
  values[count++] = 0.0F;
  values[count++] = 1.0F;
  for (int decade = 0; decade < 7; ++decade) {
    const int n = 1 << decade;
    const float step = (1.0F - 0.1F) / static_cast<float>(n);
    // The ends of equal intervals on [0.1, 1], counted from the nearer end.
    const auto end = [&](int k) {
      return k < (n + 1) / 2 ? std::fma(step, static_cast<float>(k), 0.1F)
                             : std::fma(-step, static_cast<float>(n - k), 1.0F);
    };
    const auto scale = static_cast<float>(std::pow(10.0, decade - 6));
    for (int k = 0; k < n; ++k) {
      const float middle = (end(k) + end(k + 1)) / 2.0F;
      values[count++] = scale * middle;
      values[count++] = -(scale * middle);
    }
  }
  std::sort(values.begin(), values.end());
  return values;
}

}  // namespace

std::string_view to_text(FourBitCode code) {
  return code == FourBitCode::kNf4 ? "nf4" : "fp4";
}

std::span<const float, 16> four_bit_values(FourBitCode code) {
  return std::span<const float, 16>(code == FourBitCode::kNf4 ? llmh::block::kNf4Values
                                                              : llmh::block::kFp4Values);
}

std::span<const float, 256> nested_values() {
  static const std::array<float, 256> kValues = make_nested_values();
  return kValues;
}

FourBitTensor quantize_four_bit(std::span<const float> values, std::span<const int64_t> shape,
                                const FourBitOptions& options, ThreadPool* threads) {
  check(values, shape, options);
  FourBitTensor tensor{options, {shape.begin(), shape.end()}, {}, {}, {}, {}};
  const auto block = static_cast<size_t>(options.block);
  const size_t n_blocks = (values.size() - 1) / block + 1;
  tensor.packed.resize((values.size() + 1) / 2);
  tensor.absmax.resize(n_blocks);
  std::atomic<bool> finite = true;
  auto quantize_some = [&](int64_t item, int32_t) {
    const size_t first = static_cast<size_t>(item) * kBlocksAtOnce;
    for (size_t b = first; b < std::min<size_t>(first + kBlocksAtOnce, n_blocks); ++b) {
      const auto part = values.subspan(b * block, std::min(block, values.size() - b * block));
      if (!all_finite(part)) finite = false;
      quantize_block(part, options, tensor.absmax[b], tensor.packed.data() + b * block / 2);
    }
  };
  const auto n_items = static_cast<int64_t>((n_blocks - 1) / kBlocksAtOnce + 1);
  if (threads != nullptr)
    threads->parallel_for(n_items, quantize_some);
  else
    for (int64_t item = 0; item < n_items; ++item) quantize_some(item, 0);
  if (!finite) throw_invalid("a value that is not finite cannot be quantised");
  if (options.is_nested) quantize_maxima(tensor);
  return tensor;
}

void dequantize_four_bit(const FourBitTensor& tensor, std::span<float> out) {
  const auto values = four_bit_values(tensor.options.code);
  const auto block = static_cast<size_t>(tensor.options.block);
  if (out.size() != element_count(tensor.shape))
    throw_invalid("{} values do not have room in {}", element_count(tensor.shape), out.size());
  for (size_t i = 0; i < out.size(); ++i) out[i] = values[code_at(tensor, i)] * tensor.absmax[i / block];
}

WeightData four_bit_weight(const FourBitTensor& tensor) {
  WeightData weight;
  weight.shape = tensor.shape;
  const size_t n = element_count(tensor.shape);
  const bool whole_blocks =
      tensor.shape.back() % kDeviceBlock == 0 && tensor.options.block % kDeviceBlock == 0;
  if (!whole_blocks) {
    weight.dtype = LLMH_DTYPE_F32;
    std::vector<std::byte> decoded(n * sizeof(float));
    dequantize_four_bit(tensor, {reinterpret_cast<float*>(decoded.data()), n});
    weight.keep(std::move(decoded));
    return weight;
  }
  weight.dtype = tensor.options.code == FourBitCode::kNf4 ? LLMH_DTYPE_NF4 : LLMH_DTYPE_FP4;
  std::vector<std::byte> blocks(byte_count(weight.dtype, weight.shape));
  std::byte* to = blocks.data();
  for (size_t first = 0; first < n; first += kDeviceBlock) {
    const float scale = tensor.absmax[first / static_cast<size_t>(tensor.options.block)];
    std::memcpy(to, &scale, sizeof scale);
    to += sizeof scale;
    for (size_t i = first; i < first + kDeviceBlock / 2; ++i)
      *to++ = static_cast<std::byte>(code_at(tensor, i) | code_at(tensor, i + kDeviceBlock / 2) << 4);
  }
  weight.keep(std::move(blocks));
  return weight;
}

WeightData quantized_weight(const WeightData& weight, const FourBitOptions& options, ThreadPool* threads) {
  if (!can_dequantize(weight.dtype))
    throw_error(ErrorCode::kUnimplemented, "element type {} cannot be quantised",
                llmh_dtype_layout_of(weight.dtype).name);
  std::vector<float> values(element_count(weight.shape));
  dequantize_row(weight.dtype, weight.bytes.data(), values.data(), values.size());
  return four_bit_weight(quantize_four_bit(values, weight.shape, options, threads));
}

std::string four_bit_state(const FourBitTensor& tensor, std::string_view dtype) {
  const std::string nested =
      tensor.options.is_nested
          ? fmt::format(R"(, "nested_blocksize": {}, "nested_dtype": "float32", "nested_offset": {})",
                        kNestedBlock, static_cast<double>(tensor.nested_offset))
          : "";
  return fmt::format(R"({{"quant_type": "{}", "blocksize": {}, "dtype": "{}", "shape": [{}]{}}})",
                     to_text(tensor.options.code), tensor.options.block, dtype, fmt::join(tensor.shape, ", "),
                     nested);
}

}  // namespace llmhost::model
