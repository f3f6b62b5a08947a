#include "engine/adapter_files.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <span>

#include "core/dequantize.h"
#include "core/error.h"
#include "core/json.h"
#include "core/sha256.h"
#include "llmhost/op.h"
#include "model/safetensors.h"

namespace llmhost::engine {
namespace {

constexpr const char* kPickle = "adapter_model.bin";
constexpr JsonLimits kConfigLimits = {size_t{4} << 20, 64};
constexpr size_t kMaxTensors = 200'000;

void check_present(const AdapterFolder& folder) {
  if (!folder.exists()) throw_error(ErrorCode::kNotFound, "there is no such folder");
  if (!folder.has(kAdapterTensorFile) && folder.has(kPickle))
    throw_error(ErrorCode::kUnimplemented,
                "{}: this older format can run code when it is read; convert it: "
                "safetensors.torch.save_file(torch.load('{}', weights_only=True), '{}')",
                kPickle, kPickle, kAdapterTensorFile);
}

// Indices as f32, in which they must be exact.
void read_indices(const model::SafetensorsTensor& stored, std::vector<float>& out) {
  constexpr int32_t kMaxExact = 1 << 24;
  for (size_t i = 0; i < out.size(); ++i) {
    int32_t index = 0;
    std::memcpy(&index, stored.data().data() + i * sizeof index, sizeof index);
    if (index < 0 || index > kMaxExact)
      throw_invalid("{}: tensor '{}' has the index {} at element {}, expected 0 to {}", kAdapterTensorFile,
                    stored.name, index, i, kMaxExact);
    out[i] = static_cast<float>(index);
  }
}

AdapterFiles::Tensor decoded(const model::SafetensorsTensor& stored, uint64_t& bytes_left) {
  const bool is_float =
      stored.dtype == LLMH_DTYPE_F32 || stored.dtype == LLMH_DTYPE_F16 || stored.dtype == LLMH_DTYPE_BF16;
  if (!is_float && stored.dtype != LLMH_DTYPE_I32)
    throw_invalid("{}: tensor '{}' is of type {}, expected F32, F16 or BF16, or I32 of indices",
                  kAdapterTensorFile, stored.name, stored.dtype_name);
  if (stored.shape.size() > LLMH_MAX_RANK)
    throw_invalid("{}: tensor '{}' has {} dimensions, expected at most {}", kAdapterTensorFile, stored.name,
                  stored.shape.size(), static_cast<int>(LLMH_MAX_RANK));
  const bool is_half = stored.dtype == LLMH_DTYPE_F16 || stored.dtype == LLMH_DTYPE_BF16;
  const size_t count = stored.size_bytes / (is_half ? 2 : 4);
  if (count * sizeof(float) > bytes_left)
    throw_error(ErrorCode::kResourceExhausted, "{}: its tensors are more than what an adapter may take",
                kAdapterTensorFile);
  bytes_left -= count * sizeof(float);
  AdapterFiles::Tensor tensor{stored.name, stored.shape, std::vector<float>(count)};
  if (!is_float) {
    read_indices(stored, tensor.data);
    return tensor;
  }
  dequantize_row(stored.dtype, stored.data().data(), tensor.data.data(), count);
  const auto bad =
      std::find_if(tensor.data.begin(), tensor.data.end(), [](float value) { return !std::isfinite(value); });
  if (bad != tensor.data.end())
    throw_invalid("{}: tensor '{}' has a value that is not finite ({}) at element {}", kAdapterTensorFile,
                  stored.name, *bad, bad - tensor.data.begin());
  return tensor;
}

}  // namespace

AdapterFiles parse_adapter_files(std::string config, std::string_view tensors,
                                 const AdapterFileLimits& limits) {
  AdapterFiles files;
  const Json json = parse_json(config, kAdapterConfigFile, kConfigLimits);
  if (!json.is_object()) throw_invalid("{}: an object is expected", kAdapterConfigFile);
  const auto stored =
      model::SafetensorsFile::from_bytes(std::as_bytes(std::span(tensors)), kAdapterTensorFile);
  if (stored.tensors().empty()) throw_invalid("{}: it holds no tensors", kAdapterTensorFile);
  if (stored.tensors().size() > kMaxTensors)
    throw_invalid("{}: it holds {} tensors, at most {} are read", kAdapterTensorFile, stored.tensors().size(),
                  kMaxTensors);
  uint64_t bytes_left = limits.max_bytes;
  for (const model::SafetensorsTensor& tensor : stored.tensors())
    files.tensors.push_back(decoded(tensor, bytes_left));
  Sha256 sum;
  sum.add(config);
  sum.add(tensors);
  files.digest = to_hex(sum.digest());
  files.config = std::move(config);
  return files;
}

AdapterFiles read_adapter_files(const AdapterFolder& folder, const AdapterFileLimits& limits) {
  check_present(folder);
  std::string config = folder.read(kAdapterConfigFile, kConfigLimits.max_bytes);
  return parse_adapter_files(std::move(config), folder.read(kAdapterTensorFile, limits.max_bytes), limits);
}

}  // namespace llmhost::engine
