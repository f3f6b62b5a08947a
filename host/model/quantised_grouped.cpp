#include "model/quantised_grouped.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <optional>

#include "core/error.h"
#include "core/thread_pool.h"

namespace llmhost::model {
namespace {

constexpr int64_t kBlock = 32;                           // elements of q4_0, q5_0, q8_0 and i8_32
constexpr int64_t kParallelElements = int64_t{1} << 20;  // fewer are not worth starting threads
constexpr uint16_t kNanF16 = 0x7E00;
constexpr int64_t kTileRows = 16;  // words of neighbouring rows share cache lines

// The bits of the f16 number that equals `value`, if there is one.
std::optional<uint16_t> exact_f16(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  const auto sign = static_cast<uint16_t>((bits >> 16) & 0x8000U);
  const uint32_t magnitude = bits & 0x7FFFFFFFU;
  if (magnitude >= 0x47800000U) return std::nullopt;  // 65536 and above, infinities, NaN
  if (magnitude >= 0x38800000U) {
    if ((magnitude & 0x1FFFU) != 0) return std::nullopt;
    return static_cast<uint16_t>(sign | ((magnitude - 0x38000000U) >> 13));
  }
  const float steps = std::abs(value) * 0x1p24F;  // of subnormal numbers
  if (steps != std::floor(steps)) return std::nullopt;
  return static_cast<uint16_t>(sign | static_cast<uint16_t>(steps));
}

llmh_dtype choose_dtype(const GroupedWeight& weight) {
  const bool whole_blocks =
      weight.group_of.empty() && weight.columns % kBlock == 0 && weight.group_size % kBlock == 0;
  if (!whole_blocks || weight.low < -128 || weight.high > 127) return LLMH_DTYPE_F32;
  if (!weight.has_f16_scales) {
    const std::vector<float> scales = weight.scales();
    const bool fit =
        std::all_of(scales.begin(), scales.end(), [](float scale) { return exact_f16(scale).has_value(); });
    if (!fit) return LLMH_DTYPE_I8_32;
  }
  if (weight.low >= -8 && weight.high <= 7) return LLMH_DTYPE_Q4_0;
  if (weight.low >= -16 && weight.high <= 15) return LLMH_DTYPE_Q5_0;
  return LLMH_DTYPE_Q8_0;
}

// Blocks of 32 quants without their zero point; the layouts are those of dtype.h.
void write_nibbles(const int32_t* q, int32_t bias, std::byte* out) {
  for (int i = 0; i < 16; ++i)
    out[i] = static_cast<std::byte>(((q[i] + bias) & 15) | ((q[i + 16] + bias) & 15) << 4);
}

void write_q5_0(const int32_t* q, std::byte* out) {
  uint32_t high = 0;
  for (int i = 0; i < kBlock; ++i) high |= static_cast<uint32_t>(((q[i] + 16) >> 4) & 1) << i;
  std::memcpy(out, &high, sizeof high);
  write_nibbles(q, 16, out + sizeof high);
}

void write_bytes(const int32_t* q, std::byte* out) {
  for (int i = 0; i < kBlock; ++i) out[i] = static_cast<std::byte>(q[i] & 255);
}

void write_block(llmh_dtype dtype, const int32_t* q, float scale, std::byte* out) {
  if (dtype == LLMH_DTYPE_I8_32) {
    std::memcpy(out, &scale, sizeof scale);
    return write_bytes(q, out + sizeof scale);
  }
  const uint16_t half = exact_f16(scale).value_or(kNanF16);
  std::memcpy(out, &half, sizeof half);
  out += sizeof half;
  if (dtype == LLMH_DTYPE_Q4_0) return write_nibbles(q, 8, out);
  if (dtype == LLMH_DTYPE_Q5_0) return write_q5_0(q, out);
  write_bytes(q, out);
}

class GroupedDecoder final : public TensorDecoder {
 public:
  GroupedDecoder(GroupedWeight weight, llmh_dtype dtype) : weight_(std::move(weight)), dtype_(dtype) {}

  void decode(std::span<std::byte> out) const override {
    const std::vector<float> scales = weight_.scales();
    std::vector<int16_t> zeros;
    if (weight_.zeros) zeros = weight_.zeros();
    if (zeros.empty()) zeros.resize(scales.size(), 0);
    const bool is_large = weight_.rows * weight_.columns > kParallelElements;
    ThreadPool pool(is_large ? 0 : 1);
    const int64_t tile = kTileRows * weight_.columns;
    std::vector<int16_t> quants(static_cast<size_t>(pool.n_threads() * tile));
    pool.parallel_for((weight_.rows - 1) / kTileRows + 1, [&](int64_t item, int32_t thread) {
      write_tile(item * kTileRows, scales.data(), zeros.data(), quants.data() + thread * tile, out);
    });
  }

 private:
  void write_tile(int64_t first, const float* scales, const int16_t* zeros, int16_t* quants,
                  std::span<std::byte> out) const {
    const int64_t count = std::min(kTileRows, weight_.rows - first);
    weight_.quants(first, count, quants);
    const size_t row_bytes = out.size() / static_cast<size_t>(weight_.rows);
    for (int64_t r = first; r < first + count; ++r) {
      const int16_t* row = quants + (r - first) * weight_.columns;
      const int64_t at = r * weight_.groups;
      std::byte* to = out.data() + static_cast<size_t>(r) * row_bytes;
      if (dtype_ == LLMH_DTYPE_F32)
        write_floats(row, scales + at, zeros + at, to);
      else
        write_blocks(row, scales + at, zeros + at, to);
    }
  }

  void write_floats(const int16_t* quants, const float* scales, const int16_t* zeros, std::byte* out) const {
    for (int64_t c = 0; c < weight_.columns; ++c) {
      const int64_t group =
          weight_.group_of.empty() ? c / weight_.group_size : weight_.group_of[static_cast<size_t>(c)];
      const float value = scales[group] * static_cast<float>(quants[c] - zeros[group]);
      std::memcpy(out + c * static_cast<int64_t>(sizeof value), &value, sizeof value);
    }
  }

  void write_blocks(const int16_t* quants, const float* scales, const int16_t* zeros, std::byte* out) const {
    const auto block_bytes = static_cast<int64_t>(llmh_dtype_layout_of(dtype_).block_bytes);
    for (int64_t c = 0; c < weight_.columns; c += kBlock) {
      const int64_t group = c / weight_.group_size;
      int32_t q[kBlock];
      for (int64_t i = 0; i < kBlock; ++i) q[i] = quants[c + i] - zeros[group];
      write_block(dtype_, q, scales[group], out + c / kBlock * block_bytes);
    }
  }

  GroupedWeight weight_;
  llmh_dtype dtype_;
};

}  // namespace

QuantisedWeight grouped_weight(std::string stored_type, GroupedWeight weight) {
  const llmh_dtype dtype = choose_dtype(weight);
  const std::vector<int64_t> shape{weight.rows, weight.columns};
  return {std::move(stored_type), dtype, shape,
          std::make_shared<const GroupedDecoder>(std::move(weight), dtype)};
}

std::vector<int32_t> groups_of_columns(const CheckpointTensor& part, int64_t columns, int64_t groups,
                                       int64_t group_size) {
  expect_type(part, {"I32"});
  expect_shape(part, {columns});
  std::vector<int32_t> result(static_cast<size_t>(columns));
  bool in_order = true;
  for (int64_t c = 0; c < columns; ++c) {
    const auto group = static_cast<int32_t>(word_at(part, c));
    if (group < 0 || group >= groups)
      refuse_part(part, fmt::format("column {} belongs to group {}, there are {}", c, group, groups));
    in_order = in_order && group == c / group_size;
    result[static_cast<size_t>(c)] = group;
  }
  if (in_order) result.clear();
  return result;
}

}  // namespace llmhost::model
