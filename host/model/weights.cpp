#include "model/weights.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "core/dequantize.h"
#include "core/error.h"
#include "core/file.h"

namespace llmhost::model {
namespace {

std::vector<std::byte> decode(const CheckpointTensor& stored, llmh_dtype dtype,
                              std::span<const std::byte> bytes, uint64_t n) {
  if (!can_dequantize(dtype))
    throw_error(ErrorCode::kUnimplemented, "{}: tensor '{}' of type {} has no conversion to f32", stored.file,
                stored.name, stored.stored_type);
  std::vector<std::byte> result(n * sizeof(float));
  dequantize_row(dtype, bytes.data(), reinterpret_cast<float*>(result.data()), n);
  return result;
}

WeightData stored_data(const CheckpointTensor& stored) {
  WeightData weight{stored.dtype, stored.shape, {}, {}};
  if (stored.decoder == nullptr) {
    weight.bytes = stored.data();
    return weight;
  }
  std::vector<std::byte> decoded(byte_count(stored.dtype, stored.shape));
  stored.decoder->decode(decoded);
  weight.keep(std::move(decoded));
  return weight;
}

void convert(const CheckpointTensor& stored, llmh_dtype dtype, WeightData& weight) {
  if (dtype == weight.dtype) return;
  weight.keep(decode(stored, weight.dtype, weight.bytes, element_count(weight.shape)));
  weight.dtype = dtype;
}

// A stored tensor after the steps.
WeightData load_part(const HubTensor& tensor, const CheckpointTensor& stored) {
  WeightData weight = stored_data(stored);
  for (const llmh_layout_step& step : tensor.steps) {
    if (splits_blocks(step, weight.shape, weight.dtype)) convert(stored, LLMH_DTYPE_F32, weight);
    apply_step(step, weight);
  }
  convert(stored, tensor.dtype, weight);
  return weight;
}

WeightData load_parts(const HubTensor& tensor) {
  if (tensor.parts.size() == 1) {
    WeightData weight = load_part(tensor, tensor.first());
    weight.shape = tensor.shape;
    return weight;
  }
  WeightData weight{tensor.dtype, tensor.shape, {}, {}};
  std::vector<std::byte> all(byte_count(tensor.dtype, tensor.shape));
  std::byte* out = all.data();
  for (const CheckpointTensor* part : tensor.parts) {
    const WeightData loaded = load_part(tensor, *part);
    std::memcpy(out, loaded.bytes.data(), loaded.bytes.size());
    out += loaded.bytes.size();
  }
  weight.keep(std::move(all));
  return weight;
}

bool needs_copy(const HubTensor& tensor) {
  const CheckpointTensor& stored = tensor.first();
  if (tensor.parts.size() > 1 || stored.decoder != nullptr || tensor.dtype != stored.dtype) return true;
  std::vector<int64_t> shape = stored.shape;
  for (const llmh_layout_step& step : tensor.steps) {
    if (!stays_in_place(step, shape)) return true;
    change_shape(step, shape);
  }
  return false;
}

}  // namespace

llmh_dtype loaded_dtype(const HubTensor& tensor, uint32_t uses) {
  return (uses & LLMH_USE_VECTOR) != 0 ? LLMH_DTYPE_F32 : tensor.dtype;
}

uint64_t copied_bytes(const HubTensor& tensor, uint32_t uses) {
  const llmh_dtype dtype = loaded_dtype(tensor, uses);
  return needs_copy(tensor) || dtype != tensor.dtype ? byte_count(dtype, tensor.shape) : 0;
}

WeightData load_weight(const HubTensor& tensor, uint32_t uses) {
  WeightData weight = load_parts(tensor);
  convert(tensor.first(), loaded_dtype(tensor, uses), weight);
  return weight;
}

void expect_stored(const HubTensor& tensor) {
  for (const CheckpointTensor* part : tensor.parts) expect_mapped(part->bytes);
}

void drop_stored(const HubTensor& tensor) {
  for (const CheckpointTensor* part : tensor.parts) drop_mapped(part->bytes);
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
