#include "model/weights.h"

#include <cstring>
#include <functional>
#include <numeric>

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

// Row (head, half, i) of the result is row (head, i, half) of the stored tensor.
std::vector<std::byte> unpair_rows(const HubTensor& tensor) {
  const std::span<const std::byte> bytes = tensor.stored->data();
  const auto rows = static_cast<size_t>(tensor.shape[0]);
  const auto heads = static_cast<size_t>(tensor.arg0);
  const size_t half_rows = rows / heads / 2;
  if (bytes.size() % rows != 0) refuse(*tensor.stored, "its rows do not start at whole blocks");
  const size_t row_bytes = bytes.size() / rows;
  std::vector<std::byte> result(bytes.size());
  for (size_t head = 0; head < heads; ++head)
    for (size_t half = 0; half < 2; ++half)
      for (size_t i = 0; i < half_rows; ++i) {
        const size_t to = (head * 2 + half) * half_rows + i;
        const size_t from = (head * half_rows + i) * 2 + half;
        std::memcpy(result.data() + to * row_bytes, bytes.data() + from * row_bytes, row_bytes);
      }
  return result;
}

std::vector<std::byte> transpose(const HubTensor& tensor) {
  const llmh_dtype_layout layout = llmh_dtype_layout_of(tensor.stored->dtype);
  if (layout.block_elements != 1) refuse(*tensor.stored, "quantised matrices cannot be transposed");
  const std::span<const std::byte> bytes = tensor.stored->data();
  const auto rows = static_cast<size_t>(tensor.shape[0]);
  const auto columns = static_cast<size_t>(tensor.shape[1]);
  const size_t size = layout.block_bytes;
  std::vector<std::byte> result(bytes.size());
  for (size_t r = 0; r < rows; ++r)
    for (size_t c = 0; c < columns; ++c)
      std::memcpy(result.data() + (r * columns + c) * size, bytes.data() + (c * rows + r) * size, size);
  return result;
}

std::vector<std::byte> decode(const CheckpointTensor& stored, llmh_dtype dtype,
                              std::span<const std::byte> bytes, uint64_t n) {
  std::vector<std::byte> result(n * sizeof(float));
  const bool known = llmh_dtype_layout_of(dtype).block_elements != 0;
  if (!known) refuse(stored, "it cannot be decoded");
  dequantize_row(dtype, bytes.data(), reinterpret_cast<float*>(result.data()), n);
  return result;
}

bool needs_copy(const HubTensor& tensor) {
  return tensor.layout == LLMH_LAYOUT_ROTARY_PAIRS ||
         (tensor.layout == LLMH_LAYOUT_TRANSPOSED && tensor.shape.size() == 2);
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
  weight.dtype = loaded_dtype(tensor, uses);
  weight.shape = tensor.shape;
  weight.bytes = tensor.stored->data();
  if (tensor.layout == LLMH_LAYOUT_ROWS) {
    const uint64_t row_bytes = weight.bytes.size() / static_cast<uint64_t>(tensor.stored->shape[0]);
    weight.bytes = weight.bytes.subspan(row_bytes * static_cast<uint64_t>(tensor.arg0),
                                        row_bytes * static_cast<uint64_t>(tensor.arg1 - tensor.arg0));
  } else if (needs_copy(tensor)) {
    weight.owned = tensor.layout == LLMH_LAYOUT_TRANSPOSED ? transpose(tensor) : unpair_rows(tensor);
    weight.bytes = weight.owned;
  }
  if (weight.dtype != tensor.stored->dtype) {
    weight.owned = decode(*tensor.stored, tensor.stored->dtype, weight.bytes, element_count(weight.shape));
    weight.bytes = weight.owned;
  }
  return weight;
}

}  // namespace llmhost::model
