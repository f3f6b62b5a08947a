#include "model/weights.h"

#include <algorithm>
#include <cstring>
#include <functional>
#include <numeric>
#include <utility>

#include "core/dequantize.h"
#include "core/error.h"

namespace llmhost::model {
namespace {

uint64_t element_count(const std::vector<int64_t>& shape) {
  return static_cast<uint64_t>(std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>()));
}

uint64_t byte_count(llmh_dtype dtype, const std::vector<int64_t>& shape) {
  const llmh_dtype_layout layout = llmh_dtype_layout_of(dtype);
  return element_count(shape) / layout.block_elements * layout.block_bytes;
}

[[noreturn]] void refuse(const CheckpointTensor& stored, std::string_view why) {
  throw_error(ErrorCode::kUnimplemented, "{}: tensor '{}' of type {}: {}", stored.file, stored.name,
              stored.stored_type, why);
}

// Bytes of one of shape[0] rows.
size_t row_bytes(const CheckpointTensor& stored, const WeightData& weight) {
  const llmh_dtype_layout layout = llmh_dtype_layout_of(weight.dtype);
  const std::vector<int64_t> row(weight.shape.begin() + 1, weight.shape.end());
  if (element_count(row) % layout.block_elements != 0)
    refuse(stored, "its rows do not start at whole blocks");
  return static_cast<size_t>(byte_count(weight.dtype, row));
}

void keep(WeightData& weight, std::vector<std::byte> bytes) {
  weight.owned = std::move(bytes);
  weight.bytes = weight.owned;
}

// Row (head, half, i) of the result is row (head, i, half) of what was there.
void unpair_rows(const CheckpointTensor& stored, int64_t n_heads, WeightData& weight) {
  const auto heads = static_cast<size_t>(n_heads);
  const size_t half_rows = static_cast<size_t>(weight.shape[0]) / heads / 2;
  const size_t size = row_bytes(stored, weight);
  std::vector<std::byte> result(weight.bytes.size());
  for (size_t head = 0; head < heads; ++head)
    for (size_t half = 0; half < 2; ++half)
      for (size_t i = 0; i < half_rows; ++i) {
        const size_t to = (head * 2 + half) * half_rows + i;
        const size_t from = (head * half_rows + i) * 2 + half;
        std::memcpy(result.data() + to * size, weight.bytes.data() + from * size, size);
      }
  keep(weight, std::move(result));
}

void transpose(const CheckpointTensor& stored, WeightData& weight) {
  if (weight.shape.size() != 2) return;
  const llmh_dtype_layout layout = llmh_dtype_layout_of(weight.dtype);
  if (layout.block_elements != 1) refuse(stored, "quantised matrices cannot be transposed");
  std::swap(weight.shape[0], weight.shape[1]);
  const auto rows = static_cast<size_t>(weight.shape[0]);
  const auto columns = static_cast<size_t>(weight.shape[1]);
  const size_t size = layout.block_bytes;
  std::vector<std::byte> result(weight.bytes.size());
  for (size_t r = 0; r < rows; ++r)
    for (size_t c = 0; c < columns; ++c)
      std::memcpy(result.data() + (r * columns + c) * size, weight.bytes.data() + (c * rows + r) * size,
                  size);
  keep(weight, std::move(result));
}

// Of a copy only the rows stay in memory.
void take_rows(const CheckpointTensor& stored, int64_t begin, int64_t end, WeightData& weight) {
  const size_t size = row_bytes(stored, weight);
  weight.bytes =
      weight.bytes.subspan(size * static_cast<size_t>(begin), size * static_cast<size_t>(end - begin));
  weight.shape[0] = end - begin;
  if (!weight.owned.empty()) keep(weight, {weight.bytes.begin(), weight.bytes.end()});
}

void apply(const CheckpointTensor& stored, const llmh_layout_step& step, WeightData& weight) {
  switch (step.layout) {
    case LLMH_LAYOUT_ROTARY_PAIRS:
      return unpair_rows(stored, step.arg0, weight);
    case LLMH_LAYOUT_TRANSPOSED:
      return transpose(stored, weight);
    case LLMH_LAYOUT_ROWS:
      return take_rows(stored, step.arg0, step.arg1, weight);
    default:
      return;
  }
}

std::vector<std::byte> decode(const CheckpointTensor& stored, llmh_dtype dtype,
                              std::span<const std::byte> bytes, uint64_t n) {
  std::vector<std::byte> result(n * sizeof(float));
  const bool known = llmh_dtype_layout_of(dtype).block_elements != 0;
  if (!known) refuse(stored, "it cannot be decoded");
  dequantize_row(dtype, bytes.data(), reinterpret_cast<float*>(result.data()), n);
  return result;
}

void take_data(const CheckpointTensor& stored, WeightData& weight) {
  weight.dtype = stored.dtype;
  weight.shape = stored.shape;
  if (stored.decoder == nullptr) {
    weight.bytes = stored.data();
    return;
  }
  std::vector<std::byte> decoded(byte_count(stored.dtype, stored.shape));
  stored.decoder->decode(decoded);
  keep(weight, std::move(decoded));
}

bool needs_copy(const HubTensor& tensor) {
  if (tensor.stored->decoder != nullptr) return true;
  return std::any_of(tensor.steps.begin(), tensor.steps.end(), [&](const llmh_layout_step& step) {
    return step.layout == LLMH_LAYOUT_ROTARY_PAIRS ||
           (step.layout == LLMH_LAYOUT_TRANSPOSED && tensor.shape.size() == 2);
  });
}

}  // namespace

llmh_dtype loaded_dtype(const HubTensor& tensor, uint32_t uses) {
  return (uses & LLMH_USE_VECTOR) != 0 ? LLMH_DTYPE_F32 : tensor.stored->dtype;
}

uint64_t copied_bytes(const HubTensor& tensor, uint32_t uses) {
  const llmh_dtype dtype = loaded_dtype(tensor, uses);
  return needs_copy(tensor) || dtype != tensor.stored->dtype ? byte_count(dtype, tensor.shape) : 0;
}

WeightData load_weight(const HubTensor& tensor, uint32_t uses) {
  WeightData weight;
  take_data(*tensor.stored, weight);
  for (const llmh_layout_step& step : tensor.steps) apply(*tensor.stored, step, weight);
  if (const llmh_dtype wanted = loaded_dtype(tensor, uses); wanted != weight.dtype) {
    keep(weight, decode(*tensor.stored, weight.dtype, weight.bytes, element_count(weight.shape)));
    weight.dtype = wanted;
  }
  return weight;
}

llmh_weight_source weight_source(std::string_view name, const HubTensor& tensor, uint32_t uses,
                                 const std::byte* data, uint64_t bytes) {
  llmh_weight_source source{};
  source.struct_size = sizeof source;
  source.dtype = loaded_dtype(tensor, uses);
  source.rank = static_cast<int32_t>(tensor.shape.size());
  source.uses = uses;
  std::copy(tensor.shape.begin(), tensor.shape.end(), source.shape);
  source.name = {name.data(), name.size()};
  source.data = data;
  source.bytes = bytes;
  source.data_outlives = 1;  // the mapping, or a copy that the host keeps
  return source;
}

}  // namespace llmhost::model
